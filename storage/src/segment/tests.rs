//! Whole segments on a simulated disk: everything that is written comes back, pruning loses nothing, damage is named.

use super::footer::{Footer, TRAILER_BYTES, Trailer};
use super::*;
use crate::cache::PageCache;
use crate::disk::{BLOCK_BYTES, DiskRef, Fault, SimDisk};
use crate::encoding::tests::{Random, SHAPES, Shape, TYPES, assert_same, column};
use crate::encoding::{CHUNK_ROWS, EncodedColumn, Encoding, VECTOR_ROWS};
use crate::error::{Result, StorageError};
use crate::ids::{FileId, TabletId};
use crate::key::KeyEncoder;
use crate::schema::{Column, CompareOp, Predicate, Scalar, TableKind, TabletSchema};
use arrow::array::*;
use arrow::compute::concat_batches;
use futures_lite::future::block_on;
use proptest::prelude::*;
use std::rc::Rc;
use std::sync::Arc;

mod speed;

const ID: FileId = FileId { tablet: TabletId(9), number: 1 };

fn schema_of(types: &[ColumnType], nullable_from: usize, sort: usize) -> TabletSchema {
    let column = |(at, &ty): (usize, &ColumnType)| Column {
        id: at as u32 + 10,
        name: format!("c{at}"),
        ty,
        nullable: at >= nullable_from,
        default: None,
        comment: String::new(),
    };
    TabletSchema {
        version: 3,
        kind: TableKind::Duplicate,
        columns: types.iter().enumerate().map(column).collect(),
        key_columns: sort as u32,
        sort_columns: (0..sort as u32).collect(),
        bucket_columns: vec![],
    }
}

/// A key that ascends, and a column of every type.
fn everything(rows: usize, seed: u64) -> (TabletSchema, RecordBatch) {
    let types = [[ColumnType::BigInt].as_slice(), &TYPES].concat();
    let schema = schema_of(&types, 1, 1);
    let mut columns = vec![column(ColumnType::BigInt, Shape::Sequence, rows, 0, seed)];
    for (at, &ty) in TYPES.iter().enumerate() {
        let shape = SHAPES[(at + seed as usize) % SHAPES.len()];
        columns.push(column(ty, shape, rows, at as u64 % 4, seed + at as u64));
    }
    let batch = RecordBatch::try_new(schema.arrow(), columns).unwrap();
    (schema, batch)
}

async fn write(disk: &DiskRef, schema: &TabletSchema, batch: &RecordBatch, step: usize) -> Result<SegmentMeta> {
    let mut writer = SegmentWriter::create(disk, &ID.path(), schema, WriteOptions::default()).await?;
    for from in (0..batch.num_rows()).step_by(step) {
        writer.append(&batch.slice(from, step.min(batch.num_rows() - from))).await?;
    }
    assert_eq!(writer.rows() as usize, batch.num_rows());
    writer.finish().await
}

async fn new_disk() -> (SimDisk, DiskRef) {
    let sim = SimDisk::new(1);
    let disk = sim.disk();
    disk.create_dir("seg").await.unwrap();
    (sim, disk)
}

async fn open(disk: &DiskRef) -> Result<Rc<Segment>> {
    Segment::open(disk, &PageCache::new(64 << 20), &ID.path(), ID).await
}

async fn read_all(segment: &Segment) -> Result<RecordBatch> {
    let columns: Vec<usize> = (0..segment.meta().columns.len()).collect();
    let mut batches = Vec::new();
    for start in (0..segment.rows()).step_by(CHUNK_ROWS) {
        batches.push(segment.read(&columns, start, (segment.rows() - start).min(CHUNK_ROWS as u32)).await?);
    }
    let schema = match batches.first() {
        Some(batch) => batch.schema(),
        None => segment.read(&columns, 0, 0).await?.schema(),
    };
    Ok(concat_batches(&schema, &batches)?)
}

fn assert_batches(expected: &RecordBatch, found: &RecordBatch, context: &str) {
    assert_eq!(expected.num_rows(), found.num_rows(), "{context}");
    for (at, (expected, found)) in expected.columns().iter().zip(found.columns()).enumerate() {
        assert_same(expected, found, &format!("{context} column {at}"));
    }
}

#[test]
fn what_is_written_is_read() {
    block_on(async {
        for (rows, step) in [(0, 1), (1, 1), (1023, 100), (5000, 777), (CHUNK_ROWS + 3000, 20_000)] {
            let (schema, batch) = everything(rows, 2);
            let (_, disk) = new_disk().await;
            let meta = write(&disk, &schema, &batch, step).await.unwrap();
            let segment = open(&disk).await.unwrap();
            assert_eq!(segment.meta(), &meta);
            assert_eq!((meta.rows as usize, meta.schema_version, meta.columns[3].id), (rows, 3, 13));
            assert_eq!(meta.bytes, disk.open(&ID.path()).await.unwrap().len());
            let found = read_all(&segment).await.unwrap();
            assert_eq!(found.schema(), schema.arrow());
            assert_batches(&batch, &found, &format!("{rows} rows"));
            let keys = KeyEncoder::new(vec![0]).encode_all(&batch).unwrap();
            if rows > 0 {
                assert_eq!((meta.min_key.as_slice(), meta.max_key.as_slice()), (keys.get(0), keys.get(rows - 1)));
            }
        }
    });
}

#[test]
fn ranges_and_single_rows() {
    block_on(async {
        let rows = CHUNK_ROWS + 9000;
        let (schema, batch) = everything(rows, 4);
        let (_, disk) = new_disk().await;
        write(&disk, &schema, &batch, 8192).await.unwrap();
        let segment = open(&disk).await.unwrap();
        let mut random = Random(3);
        for _ in 0..20 {
            let start = random.below((rows / VECTOR_ROWS) as u64) as usize * VECTOR_ROWS;
            let len = random.below((rows - start).min(CHUNK_ROWS) as u64 + 1) as usize;
            let columns = [random.below(14) as usize, random.below(14) as usize];
            let found = segment.read(&columns, start as u32, len as u32).await.unwrap();
            let expected = batch.project(&columns).unwrap().slice(start, len);
            assert_batches(&expected, &found, &format!("rows {start} and {len} more"));
        }
        for every in [1, 2, 30, 5000] {
            let chosen: Vec<u32> = (0..rows as u32).filter(|_| random.below(every) == 0).collect();
            let expected = arrow::compute::take_record_batch(&batch, &UInt32Array::from(chosen.clone())).unwrap();
            let columns: Vec<usize> = (0..batch.num_columns()).collect();
            let found = segment.take(&columns, &chosen).await.unwrap();
            assert_batches(&expected, &found, &format!("one row in {every}"));
        }
        // The same row twice, no rows, no columns.
        assert_eq!(segment.take(&[0], &[5, 5, 5, 7]).await.unwrap().num_rows(), 4);
        let twice = segment.take(&[0], &[5, 5, 5, 7]).await.unwrap();
        let expected = arrow::compute::take(batch.column(0), &UInt32Array::from(vec![5, 5, 5, 7]), None).unwrap();
        assert_same(&expected, twice.column(0), "the same row twice");
        assert_eq!(segment.take(&[0], &[]).await.unwrap().num_rows(), 0);
        assert_eq!(segment.read(&[], 1024, 77).await.unwrap().num_rows(), 77);
    });
}

#[test]
fn encoded_columns_equal_decoded_ones() {
    block_on(async {
        let (schema, batch) = everything(9000, 1);
        let (_, disk) = new_disk().await;
        write(&disk, &schema, &batch, 9000).await.unwrap();
        let segment = open(&disk).await.unwrap();
        let mut dictionaries = 0;
        for at in 0..batch.num_columns() {
            let expected = batch.column(at).slice(2048, 3000);
            match segment.read_encoded(at, 2048, 3000).await.unwrap() {
                EncodedColumn::Array(array) => assert_same(&expected, &array, "array"),
                EncodedColumn::Dictionary { codes, nulls, values, .. } => {
                    dictionaries += 1;
                    let codes = UInt16Array::new(codes.into(), nulls);
                    assert_same(&expected, &arrow::compute::take(&values, &codes, None).unwrap(), "dictionary");
                }
            }
        }
        assert!(dictionaries > 0);
    });
}

#[test]
fn wrong_calls_are_refused() {
    block_on(async {
        let (schema, batch) = everything(3000, 1);
        let (_, disk) = new_disk().await;
        let mut writer = SegmentWriter::create(&disk, "seg/x", &schema, WriteOptions::default()).await.unwrap();
        assert!(writer.append(&batch.project(&[0, 1]).unwrap()).await.is_err(), "too few columns");
        writer.append(&batch.slice(1000, 1024)).await.unwrap();
        assert!(writer.append(&batch.slice(0, 1024)).await.is_err(), "out of order");
        write(&disk, &schema, &batch, 3000).await.unwrap();
        let segment = open(&disk).await.unwrap();
        assert!(segment.read(&[0], 1, 10).await.is_err(), "start within a vector");
        assert!(segment.read(&[0], 2048, 1000).await.is_err(), "beyond the end");
        assert!(segment.read(&[0], 1024, u32::MAX).await.is_err(), "far beyond the end");
        assert!(segment.read(&[14], 0, 10).await.is_err(), "no such column");
        assert!(segment.take(&[0], &[3, 2]).await.is_err(), "descending");
        assert!(segment.take(&[0], &[3000]).await.is_err(), "beyond the end");
        assert!(segment.prune(&[Predicate::IsNull { column: 14 }]).await.is_err(), "no such column");
        let missing = Segment::open(&disk, &PageCache::new(1 << 20), "seg/none", ID).await;
        assert!(matches!(missing, Err(StorageError::NotFound(_))));
    });
}

#[test]
fn big_strings_end_a_chunk_early() {
    block_on(async {
        let rows = 3 * VECTOR_ROWS + 10;
        let schema = schema_of(&[ColumnType::Int, ColumnType::Varchar(65533)], 0, 1);
        let texts: Vec<String> = (0..rows).map(|row| format!("{row}").repeat(5000)).collect();
        let ints: ArrayRef = Arc::new(Int32Array::from_iter_values(0..rows as i32));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        let batch = RecordBatch::try_new(schema.arrow(), vec![ints, texts]).unwrap();
        let (_, disk) = new_disk().await;
        let options = WriteOptions { chunk_bytes: 8 << 20, ..WriteOptions::default() };
        let mut writer = SegmentWriter::create(&disk, &ID.path(), &schema, options).await.unwrap();
        for from in (0..rows).step_by(500) {
            writer.append(&batch.slice(from, 500.min(rows - from))).await.unwrap();
        }
        assert!(writer.bytes_written() > 0, "chunks are written on the way");
        writer.finish().await.unwrap();
        let segment = open(&disk).await.unwrap();
        assert!(segment.pages(0).await.unwrap().len() > 1);
        assert_batches(&batch, &segment.read(&[0, 1], 0, rows as u32).await.unwrap(), "all");
        let found = segment.take(&[1, 0], &[0, 1500, 3081]).await.unwrap();
        let chosen = UInt32Array::from(vec![0, 1500, 3081]);
        let expected = arrow::compute::take_record_batch(&batch.project(&[1, 0]).unwrap(), &chosen).unwrap();
        assert_batches(&expected, &found, "three rows");
    });
}

/// Evaluates a predicate on a row the slow way.
fn matches(batch: &RecordBatch, row: usize, predicate: &Predicate) -> bool {
    let array = batch.column(predicate.column());
    let value = array.is_valid(row).then(|| match array.as_any().downcast_ref::<Int64Array>() {
        Some(array) => Scalar::Int(array.value(row)),
        None => Scalar::Text(array.as_string::<i32>().value(row).to_string()),
    });
    let Some(value) = value else { return matches!(predicate, Predicate::IsNull { .. }) };
    match predicate {
        Predicate::Compare { op, value: other, .. } => {
            let order = value.partial_cmp(other).unwrap();
            match op {
                CompareOp::Eq => order.is_eq(),
                CompareOp::Ne => order.is_ne(),
                CompareOp::Lt => order.is_lt(),
                CompareOp::Le => order.is_le(),
                CompareOp::Gt => order.is_gt(),
                CompareOp::Ge => order.is_ge(),
            }
        }
        Predicate::In { values, .. } => values.contains(&value),
        Predicate::NotIn { values, .. } => !values.contains(&value),
        Predicate::Prefix { prefix, .. } => matches!(&value, Scalar::Text(text) if text.starts_with(prefix)),
        Predicate::IsNull { .. } => false,
        Predicate::IsNotNull { .. } => true,
    }
}

/// Sorted by (tenant text, number), with a number that is clustered and NULL here and there.
fn sorted_batch(rows: usize) -> (TabletSchema, RecordBatch) {
    let schema = schema_of(&[ColumnType::Varchar(60), ColumnType::BigInt, ColumnType::BigInt], 2, 2);
    // Longer than a short key for every third tenant.
    let tenant = |row: usize| match row / 4000 {
        t if t % 3 == 2 => format!("tenant-{t:03}-{}", "x".repeat(40)),
        t => format!("tenant-{t:03}"),
    };
    let tenants: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(tenant)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| (row % 4000) as i64 * 5)));
    let clustered: ArrayRef =
        Arc::new(Int64Array::from_iter((0..rows).map(|row| (row % 11 > 0).then_some((row / 100) as i64))));
    (schema.clone(), RecordBatch::try_new(schema.arrow(), vec![tenants, numbers, clustered]).unwrap())
}

fn scalar(random: &mut Random, column: u32) -> Scalar {
    match column {
        0 => {
            let tenant = random.below(14);
            let tail =
                if tenant % 3 == 2 && random.below(2) == 0 { format!("-{}", "x".repeat(40)) } else { String::new() };
            Scalar::Text(format!("tenant-{tenant:03}{tail}"))
        }
        1 => Scalar::Int(random.below(21_000) as i64 - 500),
        _ => Scalar::Int(random.below(450) as i64 - 20),
    }
}

fn predicate(random: &mut Random) -> Predicate {
    let column = random.below(3) as u32;
    let ops = [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];
    match random.below(10) {
        0 => Predicate::In { column, values: (0..3).map(|_| scalar(random, column)).collect() },
        1 => Predicate::NotIn { column, values: vec![scalar(random, column)] },
        2 => Predicate::IsNull { column },
        3 => Predicate::IsNotNull { column },
        4 => Predicate::Prefix { column: 0, prefix: format!("tenant-{:03}", random.below(14)) },
        5 | 6 => Predicate::Compare { column, op: CompareOp::Eq, value: scalar(random, column) },
        _ => {
            let op = ops[random.below(6) as usize];
            Predicate::Compare { column, op, value: scalar(random, column) }
        }
    }
}

#[test]
fn pruning_keeps_every_match_and_drops_most_others() {
    block_on(async {
        let rows = 40_500;
        let (schema, batch) = sorted_batch(rows);
        let (_, disk) = new_disk().await;
        write(&disk, &schema, &batch, 4096).await.unwrap();
        let segment = open(&disk).await.unwrap();
        let mut random = Random(17);
        for _ in 0..300 {
            let predicates: Vec<Predicate> = (0..1 + random.below(3)).map(|_| predicate(&mut random)).collect();
            let set = segment.prune(&predicates).await.unwrap();
            for row in 0..rows {
                let found = predicates.iter().all(|predicate| matches(&batch, row, predicate));
                assert!(!found || set.contains(row / VECTOR_ROWS), "row {row} is lost by {predicates:?}");
            }
        }
        let compare = |column, op, value| Predicate::Compare { column, op, value };
        let tenant = || compare(0, CompareOp::Eq, Scalar::Text("tenant-004".into()));
        assert!(segment.prune(&[tenant()]).await.unwrap().count() <= 5);
        let number = compare(1, CompareOp::Eq, Scalar::Int(5000));
        assert_eq!(segment.prune(&[tenant(), number]).await.unwrap().count(), 1);
        let clustered = compare(2, CompareOp::Lt, Scalar::Int(10));
        assert_eq!(segment.prune(&[clustered]).await.unwrap().row_ranges(), vec![0..1024]);
        let nothing = compare(1, CompareOp::Gt, Scalar::Int(1 << 40));
        assert!(segment.prune(&[nothing]).await.unwrap().is_empty());
        assert_eq!(segment.prune(&[]).await.unwrap().count(), rows.div_ceil(VECTOR_ROWS));
    });
}

#[test]
fn pages_are_read_once_and_together() {
    block_on(async {
        let (schema, batch) = everything(20_000, 6);
        let (sim, disk) = new_disk().await;
        write(&disk, &schema, &batch, 20_000).await.unwrap();
        let cache = PageCache::new(64 << 20);
        let segment = Segment::open(&disk, &cache, &ID.path(), ID).await.unwrap();
        let columns: Vec<usize> = (0..batch.num_columns()).collect();
        let before = sim.calls();
        segment.read(&columns, 0, 20_000).await.unwrap();
        let (loaded, calls) = (cache.stats().inserted, sim.calls() - before);
        assert!(calls <= 4, "{calls} reads for {loaded} pages");
        segment.read(&columns, 0, 20_000).await.unwrap();
        segment.take(&columns, &[1, 10_000, 19_999]).await.unwrap();
        assert_eq!((cache.stats().inserted, sim.calls() - before), (loaded, calls), "all from the cache");
    });
}

/// A disk whose only file has these bytes, cut to `len` (the rest of its last block is zero).
async fn disk_with(bytes: &[u8], len: usize) -> DiskRef {
    let (_, disk) = new_disk().await;
    let mut bytes = bytes[..len].to_vec();
    bytes.resize(len.next_multiple_of(BLOCK_BYTES), 0);
    let file = disk.create(&ID.path()).await.unwrap();
    if !bytes.is_empty() {
        file.write_at(0, &bytes).await.unwrap();
    }
    disk
}

/// Opens and reads everything: either the rows as written or damage, with the file named.
async fn same_or_damaged(disk: &DiskRef, expected: &RecordBatch) {
    let outcome = async {
        let segment = open(disk).await?;
        let rows = [0, segment.rows() / 2, segment.rows().saturating_sub(1)];
        let taken = segment.take(&(0..expected.num_columns()).collect::<Vec<_>>(), &rows).await?;
        let chosen = UInt32Array::from(rows.to_vec());
        assert_batches(&arrow::compute::take_record_batch(expected, &chosen)?, &taken, "single rows");
        let predicate = Predicate::Compare { column: 0, op: CompareOp::Ge, value: Scalar::Int(0) };
        assert!(!segment.prune(&[predicate]).await?.is_empty());
        read_all(&segment).await
    };
    match outcome.await {
        Ok(found) => assert_batches(expected, &found, "all rows"),
        Err(StorageError::Corrupt { file, .. }) => assert_eq!(file, ID.path()),
        Err(other) => panic!("{other}"),
    }
}

fn small_file() -> (RecordBatch, Vec<u8>) {
    block_on(async {
        let (schema, batch) = everything(1500, 3);
        let (sim, disk) = new_disk().await;
        write(&disk, &schema, &batch, 1500).await.unwrap();
        (batch, sim.contents(&ID.path()).unwrap())
    })
}

#[test]
fn every_truncation_is_named() {
    let (batch, bytes) = small_file();
    block_on(async {
        for len in (0..bytes.len()).step_by(509) {
            let disk = disk_with(&bytes, len).await;
            assert!(matches!(open(&disk).await, Err(StorageError::Corrupt { .. })), "{len} of {}", bytes.len());
        }
        same_or_damaged(&disk_with(&bytes, bytes.len()).await, &batch).await;
    });
}

#[test]
fn a_flip_in_every_page_is_named_with_its_place() {
    let (batch, bytes) = small_file();
    block_on(async {
        let segment = open(&disk_with(&bytes, bytes.len()).await).await.unwrap();
        for column in 0..batch.num_columns() {
            for page in segment.pages(column).await.unwrap() {
                let mut damaged = bytes.clone();
                damaged[page.offset as usize + page.bytes as usize / 2] ^= 4;
                let segment = open(&disk_with(&damaged, damaged.len()).await).await.unwrap();
                match segment.read(&[column], 0, 1500).await {
                    Err(StorageError::Corrupt { file, offset, expected, found }) => {
                        assert_eq!((file, offset), (ID.path(), page.offset));
                        assert!(expected.starts_with("checksum 0x") && found.starts_with("0x") && expected != found);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        near_end in any::<bool>(),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let (batch, mut bytes) = small_file();
        for (place, byte) in &flips {
            let from = if near_end { bytes.len() - 2 * BLOCK_BYTES } else { 0 };
            let at = from + place.index(bytes.len() - from);
            bytes[at] = *byte;
        }
        let len = cut.map_or(bytes.len(), |cut| cut.index(bytes.len()));
        block_on(async { same_or_damaged(&disk_with(&bytes, len).await, &batch).await });
    }

    /// Footers that lie, with a checksum that does not: values or errors, no panic.
    #[test]
    fn lying_footers_do_not_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (batch, mut bytes) = small_file();
        let tail = bytes.len() - TRAILER_BYTES;
        let trailer = Trailer::parse("x", bytes.len() as u64, &bytes[tail..]).unwrap();
        let range = trailer.footer.offset as usize..trailer.footer.offset as usize + trailer.footer.len as usize;
        for (place, byte) in &flips {
            let at = range.start + place.index(range.len());
            bytes[at] = *byte;
        }
        let mut changed = trailer;
        changed.footer.crc = crc32c::crc32c(&bytes[range]);
        bytes[tail..].copy_from_slice(&changed.bytes());
        block_on(async {
            let disk = disk_with(&bytes, bytes.len()).await;
            let Ok(segment) = open(&disk).await else { return };
            let columns: Vec<usize> = (0..segment.meta().columns.len()).collect();
            let _ = read_all(&segment).await;
            let _ = segment.take(&columns, &[0, segment.rows().saturating_sub(1)]).await;
            for column in columns {
                let _ = segment.pages(column).await;
                let _ = segment.read_encoded(column, 0, segment.rows().min(1000)).await;
                let value = Scalar::Int(batch.num_rows() as i64);
                let _ = segment.prune(&[Predicate::Compare { column: column as u32, op: CompareOp::Eq, value }]).await;
            }
        });
    }
}

#[test]
fn footers_round_trip() {
    let (_, bytes) = small_file();
    let trailer = Trailer::parse("x", bytes.len() as u64, &bytes[bytes.len() - TRAILER_BYTES..]).unwrap();
    let (from, len) = (trailer.footer.offset as usize, trailer.footer.len as usize);
    let footer = Footer::parse("x", &trailer, &bytes[from..from + len]).unwrap();
    assert_eq!(footer.bytes(), &bytes[from..from + len]);
}

#[test]
fn a_failing_device_fails_the_call() {
    block_on(async {
        let (schema, batch) = everything(20_000, 5);
        for fault in [Fault::FullAt(100_000), Fault::WriteError(0), Fault::SyncError(0)] {
            let (sim, disk) = new_disk().await;
            sim.fail(fault);
            assert!(write(&disk, &schema, &batch, 4096).await.is_err(), "{fault:?}");
        }
        let (sim, disk) = new_disk().await;
        write(&disk, &schema, &batch, 4096).await.unwrap();
        let segment = open(&disk).await.unwrap();
        sim.fail(Fault::ReadError(0));
        assert!(matches!(segment.read(&[1], 0, 10).await, Err(StorageError::Io { .. })));
        sim.mend();
        assert_eq!(segment.read(&[1], 0, 10).await.unwrap().num_rows(), 10, "a failed read is not remembered");
    });
}

#[test]
fn what_was_finished_survives_a_power_loss_and_nothing_else_opens() {
    block_on(async {
        let (schema, batch) = everything(3000, 5);
        for seed in 0..20 {
            let sim = SimDisk::new(seed);
            let disk = sim.disk();
            disk.create_dir("seg").await.unwrap();
            disk.sync_dir("").await.unwrap();
            write(&disk, &schema, &batch, 1000).await.unwrap();
            disk.sync_dir("seg").await.unwrap();
            let mut writer = SegmentWriter::create(&disk, "seg/half", &schema, WriteOptions::default()).await.unwrap();
            writer.append(&batch).await.unwrap();
            sim.lose_power();
            let disk = sim.restart().disk();
            assert_batches(&batch, &read_all(&open(&disk).await.unwrap()).await.unwrap(), "after power loss");
            let half = Segment::open(&disk, &PageCache::new(1 << 20), "seg/half", ID).await;
            assert!(matches!(half, Err(StorageError::NotFound(_) | StorageError::Corrupt { .. })), "seed {seed}");
        }
    });
}

/// A segment of format version 1. It is never rewritten: a later format gets a file of its own, and this one stays readable.
const GOLDEN: &[u8] = include_bytes!("../../tests/golden/segment-v1.seg");

fn golden_rows() -> (TabletSchema, RecordBatch) {
    let types =
        [ColumnType::Varchar(20), ColumnType::BigInt, ColumnType::Int, ColumnType::Decimal { precision: 10, scale: 2 }];
    let types = [types.as_slice(), &[ColumnType::Boolean, ColumnType::Double, ColumnType::Varchar(20)]].concat();
    let shapes = [Shape::Sequence, Shape::Sequence, Shape::Runs, Shape::FewDistinct, Shape::Constant, Shape::Extremes];
    let shapes = [shapes.as_slice(), &[Shape::FewDistinct]].concat();
    let schema = schema_of(&types, 2, 2);
    let columns = types.iter().zip(shapes).enumerate();
    let columns =
        columns.map(|(at, (&ty, shape))| column(ty, shape, 1100, if at < 2 { 0 } else { at as u64 }, at as u64));
    (schema.clone(), RecordBatch::try_new(schema.arrow(), columns.collect()).unwrap())
}

#[test]
fn the_golden_file_is_read() {
    block_on(async {
        let segment = open(&disk_with(GOLDEN, GOLDEN.len()).await).await.unwrap();
        assert_batches(&golden_rows().1, &read_all(&segment).await.unwrap(), "golden");
        let mut encodings = Vec::new();
        for column in 0..segment.meta().columns.len() {
            encodings.extend(segment.pages(column).await.unwrap().iter().map(|page| page.encoding));
        }
        use Encoding::{Constant, Dictionary, Packed, Plain, RunLength};
        assert_eq!(encodings, [Plain, Packed, RunLength, Dictionary, Constant, Dictionary, Dictionary]);
        let name = Predicate::Prefix { column: 0, prefix: "order-00000010".to_string() };
        assert_eq!(segment.prune(&[name]).await.unwrap().row_ranges(), vec![0..1100]);
        let name = Predicate::Prefix { column: 0, prefix: "order-00000005".to_string() };
        assert_eq!(segment.prune(&[name]).await.unwrap().row_ranges(), vec![0..1024]);
    });
}

#[test]
fn the_golden_file_is_written() {
    block_on(async {
        let (schema, batch) = golden_rows();
        let (sim, disk) = new_disk().await;
        write(&disk, &schema, &batch, 333).await.unwrap();
        let written = sim.contents(&ID.path()).unwrap();
        let differs = written.iter().zip(GOLDEN).position(|(a, b)| a != b);
        assert!(written == GOLDEN, "{} bytes, golden {}, first difference {differs:?}", written.len(), GOLDEN.len());
    });
}
