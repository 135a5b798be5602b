//! Golden files of the formats besides segments (whose test is with them): log, manifest, catalog log, root record, row data. Each is written as the
//! code writes it today and compared byte by byte with the file of its version, which is never rewritten: a later version gets a file of its
//! own, and the old one stays readable. A file that is missing is written, and the test fails once.

#[path = "../tests/support/row_schema.rs"]
mod row_schema;

use crate::disk::{BLOCK_BYTES, SimDisk};
use crate::ids::{Epoch, FileId, Seq, TabletId, TxnId};
use crate::inspect::{self, Item, ManifestRecord, StreamId, StreamKind, Tail};
use crate::log::block::Frames;
use crate::log::{CommitRecord, PartBody, StagedFile, TabletPart};
use crate::manifest::codec::Record;
use crate::manifest::{Edit, FileMeta, TabletState, catalog_frames, checkpoint_frames};
use crate::root::{ROOT_PATH, Root, SLOT_BYTES};
use crate::rows::{self, Rows};
use crate::schema::{CompareOp, Predicate, Scalar};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use bytes::Bytes;
use futures_lite::future::block_on;
use roaring::RoaringBitmap;
use row_schema::row_schema;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Compares with the golden file, and returns it.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() {
        std::fs::write(&path, written).unwrap();
        panic!("{name} was missing and is written now: look at it, and add it");
    }
    let kept = std::fs::read(path).unwrap();
    let differs = written.iter().zip(&kept).position(|(a, b)| a != b);
    assert!(kept == written, "{name}: {} bytes, golden {}, first difference {differs:?}", written.len(), kept.len());
    kept
}

/// Reads a file of blocks as the inspector does: its records.
fn records_of(bytes: &[u8], stream: StreamId, number: u32) -> Vec<Vec<u8>> {
    block_on(async {
        let disk = SimDisk::new(1).disk();
        let file = disk.create("f").await.unwrap();
        file.write_at(0, bytes).await.unwrap();
        assert_eq!(inspect::identify(&disk, "f").await.unwrap(), Some((stream, number)));
        let mut records = Vec::new();
        let mut keep = |item| {
            if let Item::Record { bytes, .. } = item {
                records.push(bytes);
            }
            Ok(())
        };
        let found = inspect::blocks(&disk, "f", stream, number, &mut keep).await.unwrap();
        assert_eq!((found.tail, found.open_bytes, found.end), (Tail::End, 0, bytes.len() as u64));
        records
    })
}

fn file(number: u64) -> FileId {
    FileId { tablet: TabletId(0x11), number }
}

/// Every predicate and every kind of value.
fn predicates() -> Vec<Predicate> {
    use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
    let values = [
        Scalar::Bool(true),
        Scalar::Int(-2),
        Scalar::Wide(-(1 << 100)),
        Scalar::Float(-0.5),
        Scalar::Text("\u{e9}t\u{e9}".to_string()),
        Scalar::Int(i64::MAX),
    ];
    let ops = [Eq, Ne, Lt, Le, Gt, Ge];
    let compare = |(column, (op, value))| Predicate::Compare { column, op, value };
    let mut all: Vec<_> = (0..).zip(ops.into_iter().zip(values.clone())).map(compare).collect();
    all.push(Predicate::In { column: 6, values: values.to_vec() });
    all.push(Predicate::NotIn { column: 7, values: vec![] });
    all.push(Predicate::Prefix { column: 8, prefix: "o-".to_string() });
    all.push(Predicate::IsNull { column: 9 });
    all.push(Predicate::IsNotNull { column: 10 });
    all
}

fn commits() -> Vec<CommitRecord> {
    let part = |tablet, body| TabletPart { tablet: TabletId(tablet), schema_version: 2, body };
    let staged = |number, deletes| StagedFile { file: file(number), rows: 70_000, bytes: 1 << 20, deletes };
    let long: Vec<u8> = (0..9000u32).map(|i| (i / 40) as u8).collect();
    vec![
        CommitRecord { seq: Seq(41), txn: TxnId(7), parts: vec![] },
        CommitRecord {
            seq: Seq(42),
            txn: TxnId(1 << 40),
            parts: vec![
                part(0, PartBody::Ddl(Bytes::from_static(b"change"))),
                part(0x11, PartBody::Rows(Bytes::from_static(b"row data"))),
                part(0x12, PartBody::Files(vec![staged(5, false), staged(6, true)])),
                part(0x13, PartBody::DeleteWhere(predicates())),
            ],
        },
        // Over three blocks.
        CommitRecord { seq: Seq(43), txn: TxnId(9), parts: vec![part(0x11, PartBody::Rows(long.into()))] },
    ]
}

#[test]
fn log_version_1() {
    let stream = StreamId { kind: StreamKind::Log, epoch: 3, core: 1 };
    let mut frames = Frames::default();
    commits().iter().for_each(|commit| frames.push(|out| commit.encode(out)));
    let written = frames.pack(stream, 640, 638, Seq(40), |_| 5);
    let kept = golden("log-v1.log", &written);
    let read = records_of(&kept, stream, 5).into_iter().map(|bytes| CommitRecord::decode(bytes.into()).unwrap());
    assert_eq!(read.collect::<Vec<_>>(), commits());
}

fn dead(rows: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    rows.iter().copied().collect::<RoaringBitmap>().serialize_into(&mut bytes).unwrap();
    bytes
}

fn meta(number: u64) -> FileMeta {
    FileMeta { file: file(number), rows: 1000, bytes: 40_960, min_seq: Seq(1), max_seq: Seq(30) }
}

fn state() -> TabletState {
    TabletState {
        flushed: Seq(30),
        files: vec![meta(1), meta(3)],
        deletes: BTreeMap::from([(file(3), dead(&[1, 2, 500]))]),
        predicates: vec![(Seq(29), predicates())],
        next_file: 4,
    }
}

fn edits() -> Vec<Edit> {
    let flush = Edit {
        tablet: TabletId(0x11),
        flushed: Seq(37),
        added: vec![meta(4)],
        removed: vec![file(1), file(3)],
        deletes: vec![(file(4), dead(&[0, 999]))],
        predicates: vec![(Seq(36), predicates())],
        predicates_folded: Seq(29),
        next_file: 6,
        dropped: false,
    };
    vec![flush, Edit { tablet: TabletId(0x12), flushed: Seq(38), dropped: true, ..Edit::default() }]
}

#[test]
fn manifest_version_1() {
    let stream = StreamId { kind: StreamKind::Manifest, epoch: 3, core: 1 };
    let states = BTreeMap::from([(TabletId(0x11), state()), (TabletId(0x12), TabletState::default())]);
    let checkpoint = checkpoint_frames(&states, Seq(31));
    let mut written = checkpoint.pack(stream, 0, 0, Seq::ZERO, |_| 2);
    for edit in edits() {
        let mut frames = Frames::default();
        frames.push(|out| Record::Edit(&edit).encode(out));
        let next = (written.len() / BLOCK_BYTES) as u64;
        written.extend(frames.pack(stream, next, next, Seq::ZERO, |_| 2));
    }
    let kept = golden("manifest-v1.man", &written);
    let read = records_of(&kept, stream, 2).into_iter().map(|r| inspect::decode_manifest_record(&r, "f", 0).unwrap());
    let mut expected = vec![ManifestRecord::Begin { mark: Seq(31) }];
    expected.extend(states.into_iter().map(|(tablet, state)| ManifestRecord::Tablet { tablet, state }));
    expected.push(ManifestRecord::End { count: 2 });
    expected.extend(edits().into_iter().map(ManifestRecord::Edit));
    assert_eq!(read.collect::<Vec<_>>(), expected);
}

#[test]
fn catalog_log_version_1() {
    let stream = StreamId { kind: StreamKind::Catalog, epoch: 3, core: 0 };
    let edit = (Seq(12), Bytes::from_static(b"a change"));
    let written = catalog_frames(Seq(10), b"the catalog", std::slice::from_ref(&edit));
    let kept = golden("catalog-v1.man", &written.pack(stream, 0, 0, Seq::ZERO, |_| 1));
    let read = records_of(&kept, stream, 1).into_iter().map(|r| inspect::decode_manifest_record(&r, "f", 0).unwrap());
    let expected = vec![
        ManifestRecord::Begin { mark: Seq(10) },
        ManifestRecord::Catalog { seq: Seq(10), bytes: Bytes::from_static(b"the catalog") },
        ManifestRecord::End { count: 1 },
        ManifestRecord::CatalogEdit { seq: edit.0, bytes: edit.1 },
    ];
    assert_eq!(read.collect::<Vec<_>>(), expected);
}

#[test]
fn root_version_1() {
    block_on(async {
        let sim = SimDisk::new(1);
        let cuts = vec![(Epoch(4), Seq(90)), (Epoch(5), Seq(1 << 40))];
        let mut root = Root { epoch: Epoch(5), generation: Epoch(4), cores: 3, writes: 16, cuts };
        root.write(&sim.disk()).await.unwrap();
        let kept = golden("root-v1", &sim.contents(ROOT_PATH).unwrap());
        let slot = |at: usize| Bytes::copy_from_slice(&kept[at * SLOT_BYTES..(at + 1) * SLOT_BYTES]);
        assert_eq!(Root::parse(slot(0), 0).unwrap(), root);
        assert_eq!(Root::parse(slot(1), 0).unwrap(), Root { writes: 17, ..root });
    });
}

/// Three rows of every type: values, NULL, extremes.
fn row_columns() -> Vec<ArrayRef> {
    let wide = |values: [Option<i128>; 3], precision, scale| {
        Arc::new(Decimal128Array::from_iter(values).with_precision_and_scale(precision, scale).unwrap())
    };
    vec![
        Arc::new(BooleanArray::from_iter([Some(true), None, Some(false)])),
        Arc::new(Int8Array::from_iter([Some(1), None, Some(i8::MIN)])),
        Arc::new(Int16Array::from_iter([Some(1), None, Some(i16::MIN)])),
        Arc::new(Int32Array::from_iter([Some(1), None, Some(i32::MIN)])),
        Arc::new(Int64Array::from_iter([Some(1), None, Some(i64::MIN)])),
        wide([Some(1), None, Some(i128::MIN)], 38, 0),
        Arc::new(Float32Array::from_iter([Some(1.5), None, Some(-0.0)])),
        Arc::new(Float64Array::from_iter([Some(1.5), None, Some(f64::NEG_INFINITY)])),
        wide([Some(125), None, Some(-1)], 10, 2),
        Arc::new(Date32Array::from_iter([Some(0), None, Some(19_782)])),
        Arc::new(TimestampMicrosecondArray::from_iter([Some(0), None, Some(1_709_210_096_000_007)])),
        Arc::new(StringArray::from_iter([Some("\u{e9}t\u{e9}"), None, Some("")])),
    ]
}

#[test]
fn row_data_version_1() {
    let batch = RecordBatch::try_new(row_schema().arrow(), row_columns()).unwrap();
    let deletes = BooleanBuffer::from(vec![false, true, false]);
    let (mut plain, mut written) = (Vec::new(), Vec::new());
    rows::encode(&Rows::upserts(batch.clone()), &mut plain).unwrap();
    rows::encode(&Rows { batch: batch.clone(), deletes: Some(deletes.clone()) }, &mut written).unwrap();
    let split = written.len();
    written.extend(plain);
    let kept = golden("rows-v1", &written);
    let read = rows::decode(&row_schema(), &kept[..split]).unwrap();
    assert_eq!((read.batch.columns(), read.deletes.as_ref()), (batch.columns(), Some(&deletes)));
    assert_eq!(rows::count(&kept[..split]).unwrap(), (3, 1));
    let read = rows::decode(&row_schema(), &kept[split..]).unwrap();
    assert_eq!((read.batch.columns(), read.deletes), (batch.columns(), None));
    assert_eq!(rows::count(&kept[split..]).unwrap(), (3, 0));
}
