//! `starling-inspect` over a data directory that storage's own writers have written: it prints what they wrote, changes no byte of it, names
//! damage, and never panics.
#![expect(clippy::unwrap_used, reason = "tests")]

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use roaring::RoaringBitmap;
use starling_storage::disk::{DiskRef, GlommioDisk};
use starling_storage::ids::{CoreId, FileId, Seq, TabletId, TxnId};
use starling_storage::log::{CommitRecord, Log, LogOptions, PartBody, StagedFile, TabletPart};
use starling_storage::manifest::{CatalogLog, Edit, FileMeta, Manifest};
use starling_storage::recovery::recover;
use starling_storage::rows::{self, Rows};
use starling_storage::schema::{Column, ColumnType, CompareOp, Predicate, Scalar, TableKind, TabletSchema};
use starling_storage::segment::{SegmentWriter, WriteOptions};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::Arc;

const TABLET: TabletId = TabletId(7);
const ROWS: usize = 3000;

fn schema() -> TabletSchema {
    let types = [
        ("id", ColumnType::BigInt),
        ("status", ColumnType::Varchar(20)),
        ("amount", ColumnType::Decimal { precision: 10, scale: 2 }),
    ];
    let column = |(at, (name, ty)): (usize, (&str, ColumnType))| Column {
        id: at as u32,
        name: name.to_string(),
        ty,
        nullable: at > 0,
        default: None,
        comment: String::new(),
    };
    TabletSchema {
        version: 3,
        kind: TableKind::PrimaryKey,
        columns: types.into_iter().enumerate().map(column).collect(),
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    }
}

fn batch(from: i64, rows: usize) -> RecordBatch {
    let ids = from..from + rows as i64;
    let amounts = Decimal128Array::from_iter(ids.clone().map(|id| (id % 5 != 0).then_some(id as i128 * 100 + 25)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(StringArray::from_iter_values(ids.map(|id| if id % 2 == 0 { "paid" } else { "open" }))),
        Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
    ];
    RecordBatch::try_new(schema().arrow(), columns).unwrap()
}

fn file(number: u64) -> FileId {
    FileId { tablet: TABLET, number }
}

/// One start with a commit of each kind, a flush, a drop and a change of the catalog.
async fn write(disk: DiskRef) {
    let place = |_: &_| Ok(HashMap::from([(TABLET, CoreId(0)), (TabletId(8), CoreId(0))]));
    let mut found = recover(&disk, 1, &place).await.unwrap();
    let manifest = Manifest::open(Rc::clone(&disk), found.manifests.remove(0)).await.unwrap();
    let catalog = CatalogLog::open(Rc::clone(&disk), &found.catalog).await.unwrap();
    let options = LogOptions { segment_bytes: 256 << 10, spare_segments: 1 };
    let log = Log::create(Rc::clone(&disk), found.epoch, CoreId(0), options, Rc::new(|| Seq(2))).await.unwrap();

    let mut encoded = Vec::new();
    rows::encode(&Rows::upserts(batch(0, 10)), &mut encoded).unwrap();
    let staged = StagedFile { file: file(1), rows: ROWS as u32, bytes: 4096, deletes: false };
    let old = Predicate::Compare { column: 0, op: CompareOp::Lt, value: Scalar::Int(9) };
    let part = |tablet, body| TabletPart { tablet, schema_version: 3, body };
    let commits = [
        vec![part(TabletId::CATALOG, PartBody::Ddl(Bytes::from_static(b"\x01create orders\x00")))],
        vec![part(TABLET, PartBody::Rows(encoded.into())), part(TabletId(8), PartBody::DeleteWhere(vec![old]))],
        vec![part(TABLET, PartBody::Files(vec![staged]))],
    ];
    for (seq, parts) in (1..).zip(commits) {
        let record = CommitRecord { seq: Seq(seq), txn: TxnId(100 + seq), parts };
        let space = log.reserve(record.encoded_len()).await.unwrap();
        let ticket = log.append(&record, space);
        log.turn().await.unwrap();
        ticket.durable().await.unwrap();
    }
    catalog.append(Seq(1), Bytes::from_static(b"\x01create orders\x00")).await.unwrap();

    let mut writer = SegmentWriter::create(&disk, &file(1).path(), &schema(), WriteOptions::default()).await.unwrap();
    writer.append(&batch(0, ROWS)).await.unwrap();
    let meta = writer.finish().await.unwrap();
    disk.sync_dir("seg").await.unwrap();
    let mut dead = Vec::new();
    RoaringBitmap::from_iter([3u32, 9]).serialize_into(&mut dead).unwrap();
    let added = FileMeta { file: file(1), rows: meta.rows, bytes: meta.bytes, min_seq: Seq(1), max_seq: Seq(3) };
    let deletes = vec![(file(1), dead)];
    let flush = Edit { tablet: TABLET, flushed: Seq(3), added: vec![added], deletes, ..Edit::default() };
    manifest.append(flush).await.unwrap();
    log.close();
}

/// A data directory of its own for a test, removed at the end.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Data {
        let dir = std::env::temp_dir().join(format!("starling-inspect-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let path = dir.clone();
        let executor = glommio::LocalExecutorBuilder::default().spawn(move || async move {
            write(Rc::new(GlommioDisk::open(path).await.unwrap())).await;
        });
        executor.unwrap().join().unwrap();
        Data(dir)
    }

    fn one(&self, dir: &str, holds: &str) -> PathBuf {
        let names = std::fs::read_dir(self.0.join(dir)).unwrap().map(|e| e.unwrap().path());
        let mut found: Vec<_> = names.filter(|p| p.file_name().unwrap().to_string_lossy().contains(holds)).collect();
        found.sort();
        found.remove(0)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(path: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_starling-inspect")).args(options).arg(path).output().unwrap()
}

fn inspect(path: &Path, options: &[&str]) -> String {
    let output = run(path, options);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn holds(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        match entry.is_dir() {
            true => files.extend(contents(&entry)),
            false => drop(files.insert(entry.clone(), std::fs::read(&entry).unwrap())),
        }
    }
    files
}

#[test]
fn it_prints_what_was_written_and_changes_nothing() {
    let data = Data::new("prints");
    let before = contents(&data.0);

    let text = inspect(&data.one("seg", ".seg"), &["--rows", "3", "--zones"]);
    holds(&text, &["tablet 7, file 1; 3000 rows", "schema version 3", "sort key (id)", "column 0  id BIGINT NOT NULL"]);
    holds(&text, &["segment: 0 to 2999, 0 of 3000 NULL", "vector 2: 2048 to 2999, 0 of 952 NULL", "Packed  0 NULL"]);
    holds(&text, &["\"open\" to \"paid\"", "Dictionary", "amount DECIMAL(10,2)", "1.25 to ", "600 of 3000 NULL"]);
    holds(&text, &["row 0  0 | paid | NULL", "row 2  2 | paid | 2.25"]);
    assert!(!text.contains("row 3 "));

    let text = inspect(&data.one("log", ".log"), &["--blocks"]);
    holds(
        &text,
        &[
            "log of core 0, epoch 1, segment",
            "commit 1  transaction 101",
            "change of the catalog, 15 bytes: create orders",
        ],
    );
    holds(
        &text,
        &[
            "commit 2  transaction 102",
            "10 rows, 0 of them deletes",
            "tablet 8  schema version 3  delete where column 0 < 9",
        ],
    );
    holds(
        &text,
        &["files seg/0000000000000007-0000000000000001.seg 3000 rows", "block 0  at 0", "3 records in 3 blocks"],
    );
    holds(&text, &["then zeros: prepared, not written yet"]);

    let text = inspect(&data.one("manifest", "-0000-"), &[]);
    holds(
        &text,
        &["manifest of core 0, generation 1", "checkpoint, mark 0", "end of checkpoint", "edit of tablet 7  F 3"],
    );
    holds(&text, &["+ seg/0000000000000007-0000000000000001.seg  3000 rows", "commits 1 to 3", "2 dead rows"]);
    holds(
        &inspect(&data.one("manifest", "catalog"), &[]),
        &["catalog log, generation 1", "change of the catalog at 1", "create orders"],
    );
    holds(&inspect(&data.0.join("root"), &[]), &["slot 0", "slot 1", "epoch 1  generation 1 of 1 cores  cut 0"]);

    let text = inspect(&data.0, &[]);
    holds(
        &text,
        &["epoch 1  generation 1 of 1 cores", "tablet 7  F 3  1 files  3000 rows", "3 commits, 1 to 3, of 3 tablets"],
    );
    holds(&text, &["1 changes since; F 1", "1 segment files"]);
    assert!(!text.contains("!!"), "{text}");

    assert!(before == contents(&data.0), "a file was changed");
}

#[test]
fn a_file_is_known_by_its_bytes_when_its_name_tells_nothing() {
    let data = Data::new("names");
    for (from, title) in [
        (data.one("seg", ".seg"), "segment copy"),
        (data.one("log", ".log"), "log of core 0, epoch 1"),
        (data.one("manifest", "-0000-"), "manifest of core 0"),
        (data.one("manifest", "catalog"), "catalog log"),
        (data.0.join("root"), "root record copy"),
    ] {
        std::fs::copy(from, data.0.join("copy")).unwrap();
        holds(&inspect(&data.0.join("copy"), &[]), &[title]);
    }
    for other in [&b""[..], b"hello", &[0; 70_000]] {
        std::fs::write(data.0.join("copy"), other).unwrap();
        let output = run(&data.0.join("copy"), &[]);
        holds(
            &String::from_utf8_lossy(&output.stderr),
            &["damaged file copy at offset 0: expected a segment, log, manifest"],
        );
        assert_eq!(output.status.code(), Some(1));
    }
    let output = run(&data.0.join("nothing.seg"), &[]);
    holds(&String::from_utf8_lossy(&output.stderr), &["not found: nothing.seg"]);
    let output = run(&data.0.join("seg"), &[]);
    holds(&String::from_utf8_lossy(&output.stderr), &["expected a data directory with root, log and manifest"]);
}

/// A torn tail is what a crash leaves; the same block below a synced mark is damage.
#[test]
fn a_torn_tail_and_damage_are_told_apart() {
    let data = Data::new("torn");
    let log = data.one("log", ".log");
    let whole = std::fs::read(&log).unwrap();
    let mut torn = whole.clone();
    torn[2 * 4096 + 100] ^= 1;
    std::fs::write(&log, &torn).unwrap();
    holds(
        &inspect(&log, &[]),
        &[
            "2 records in 2 blocks, up to offset 8192",
            "then a torn tail, which recovery passes over: expected checksum",
        ],
    );
    let mut damaged = whole.clone();
    damaged[4096 + 100] ^= 1;
    std::fs::write(&log, &damaged).unwrap();
    for path in [&log, &data.0] {
        let output = run(path, &[]);
        holds(&String::from_utf8_lossy(&output.stdout), &["!! damaged file", "at offset 4096: expected checksum"]);
        assert_eq!(output.status.code(), Some(1));
    }
}

/// Every file of the directory with bytes changed, cut and zeroed: exit code 0 or 1, never a panic, and the damage has a place.
#[test]
fn no_damage_makes_it_panic() {
    let data = Data::new("damage");
    let root = data.0.join("root");
    let files = [
        data.one("seg", ".seg"),
        data.one("log", ".log"),
        data.one("manifest", "-0000-"),
        data.one("manifest", "catalog"),
        root,
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for path in files {
        let whole = std::fs::read(&path).unwrap();
        // Where something was written: the rest of a prepared file is zeros.
        let used = whole.iter().rposition(|&b| b != 0).unwrap() + 1;
        for round in 0..24 {
            let mut bytes = whole.clone();
            match round % 3 {
                0 => bytes[next(used)] ^= 1 << next(8),
                1 => bytes.truncate(next(used)),
                _ => {
                    let at = next(used);
                    bytes[at..used.min(at + 600)].fill(next(256) as u8);
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            for target in [&path, &data.0] {
                let output = run(target, &["--rows", "100000", "--zones", "--blocks"]);
                let told =
                    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(matches!(output.status.code(), Some(0 | 1)), "{path:?}, round {round}: {told}");
                assert!(!told.contains("panicked"), "{path:?}, round {round}: {told}");
                assert!(output.status.success() || told.contains("expected"), "{path:?}, round {round}: {told}");
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
}
