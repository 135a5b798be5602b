//! Tests of the tablet: a bench of small helpers here, the model test in `model.rs`, single scenarios in `cases.rs`.

mod cases;
mod model;
mod speed;

use super::keys::KeyCodec;
use super::*;
use crate::disk::SimDisk;
use crate::manifest::{Edit, TabletState};
use crate::rows::Rows;
use crate::schema::{Column, ColumnType};
use arrow::array::{
    Array, ArrayRef, BooleanBufferBuilder, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::util::display::array_value_to_string;

/// Kinds of tablets under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    BigInt,
    /// Sorted by another column than the key.
    OrderBy,
    Varchar,
    /// As Varchar, with eight different hashes in all.
    Collisions,
    /// (VARCHAR, INT).
    Composite,
    /// (INT, SMALLINT): packed into one tag.
    Packed,
    Duplicate,
}

/// A row besides its key.
type Row = (Option<i32>, Option<String>);

impl Shape {
    fn key_types(self) -> Vec<ColumnType> {
        match self {
            Shape::BigInt | Shape::OrderBy | Shape::Duplicate => vec![ColumnType::BigInt],
            Shape::Varchar | Shape::Collisions => vec![ColumnType::Varchar(50)],
            Shape::Composite => vec![ColumnType::Varchar(20), ColumnType::Int],
            Shape::Packed => vec![ColumnType::Int, ColumnType::SmallInt],
        }
    }

    fn schema(self) -> Arc<TabletSchema> {
        let keys = self.key_types();
        let types = keys.iter().copied().chain([ColumnType::Int, ColumnType::Varchar(100)]);
        let column = |(i, ty): (usize, ColumnType)| Column {
            id: i as u32,
            name: format!("c{i}"),
            ty,
            nullable: i >= keys.len(),
            default: None,
            comment: String::new(),
        };
        let count = keys.len() as u32;
        Arc::new(TabletSchema {
            version: 1,
            kind: if self == Shape::Duplicate { TableKind::Duplicate } else { TableKind::PrimaryKey },
            columns: types.enumerate().map(column).collect(),
            key_columns: count,
            sort_columns: if self == Shape::OrderBy { vec![1, 0] } else { (0..count).collect() },
            bucket_columns: vec![0],
        })
    }

    /// Position of the INT column; the VARCHAR column is the next.
    fn value_column(self) -> usize {
        self.key_types().len()
    }

    fn keys(self, ids: &[u32]) -> RecordBatch {
        let text = |f: &dyn Fn(u32) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(ids.iter().map(|&id| f(id))))
        };
        let long = |id: u32| format!("key-{id}-{}", "x".repeat(id as usize % 7));
        let columns: Vec<ArrayRef> = match self {
            Shape::Varchar | Shape::Collisions => vec![text(&long)],
            Shape::Composite => vec![
                text(&|id| format!("group {}", id % 5)),
                Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| (id / 5) as i32 - 3))),
            ],
            Shape::Packed => vec![
                Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| (id / 7) as i32 - 4))),
                Arc::new(Int16Array::from_iter_values(ids.iter().map(|id| (id % 7) as i16 - 3))),
            ],
            _ => vec![Arc::new(Int64Array::from_iter_values(ids.iter().map(|&id| (i64::from(id) - 40) * 1_000_003)))],
        };
        let fields = self.schema().arrow().project(&(0..columns.len()).collect::<Vec<_>>()).unwrap();
        RecordBatch::try_new(Arc::new(fields), columns).unwrap()
    }

    /// Full rows; `None` rows get NULLs.
    fn batch(self, rows: &[(u32, Option<Row>)]) -> RecordBatch {
        let keys = self.keys(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
        let values = rows.iter().map(|row| row.1.as_ref().and_then(|row| row.0));
        let texts = rows.iter().map(|row| row.1.as_ref().and_then(|row| row.1.clone()));
        let mut columns = keys.columns().to_vec();
        columns.push(Arc::new(Int32Array::from_iter(values)));
        columns.push(Arc::new(StringArray::from_iter(texts)));
        RecordBatch::try_new(self.schema().arrow(), columns).unwrap()
    }

    fn rows(self, rows: &[(u32, Option<Row>)]) -> Rows {
        let mut deletes = BooleanBufferBuilder::new(rows.len());
        rows.iter().for_each(|row| deletes.append(row.1.is_none()));
        let deletes = rows.iter().any(|row| row.1.is_none()).then(|| deletes.finish());
        Rows { batch: self.batch(rows), deletes }
    }
}

/// Rows of a batch as text, for comparison.
fn texts(batch: &RecordBatch) -> Vec<String> {
    let cell = |column: &ArrayRef, row| {
        if column.is_null(row) { "NULL".to_string() } else { array_value_to_string(column, row).unwrap() }
    };
    let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

/// The manifest of the tests: edits are durable at once.
#[derive(Default)]
struct Edits {
    state: RefCell<TabletState>,
}

impl Edits {
    fn apply(&self, edit: Edit) {
        self.state.borrow_mut().apply(&edit).unwrap();
    }
}

/// Sizes so small that every path is taken within a few rows.
fn small_limits() -> TabletLimits {
    TabletLimits {
        memtable_rows: 60,
        memtable_bytes: 1 << 20,
        memtable_age_micros: 2_000,
        staged_rows: 25,
        staged_bytes: 1 << 20,
        segment_rows: 70,
        tier_files: 3,
        dead_percent: 30,
        slice_rows: 3,
    }
}

fn environment(sim: &SimDisk, limits: TabletLimits) -> TabletEnv {
    TabletEnv { disk: sim.disk(), cache: PageCache::new(1 << 20), limits }
}

fn codec(shape: Shape) -> KeyCodec {
    match (shape, KeyCodec::new(&shape.schema())) {
        (Shape::Collisions, KeyCodec::Hashed(encoder, _)) => KeyCodec::Hashed(encoder, 7),
        (_, codec) => codec,
    }
}

async fn new_tablet(shape: Shape, sim: &SimDisk, limits: TabletLimits) -> Rc<Tablet> {
    sim.disk().create_dir("seg").await.unwrap();
    Tablet::with_codec(TabletId(7), shape.schema(), environment(sim, limits), codec(shape))
}

async fn reopened(shape: Shape, sim: &SimDisk, limits: TabletLimits, state: TabletState) -> Result<Rc<Tablet>> {
    let tablet = Tablet::with_codec(TabletId(7), shape.schema(), environment(sim, limits), codec(shape));
    tablet.load(state).await?;
    Ok(tablet)
}

async fn flush(tablet: &Tablet, w: Seq, edits: &Edits) -> RewriteReport {
    let append = async |edit| {
        edits.apply(edit);
        Ok(())
    };
    tablet.rewrite_through(Rewrite::Flush, w, append).await.unwrap()
}

async fn all(tablet: &Tablet, at: Seq) -> Vec<String> {
    let columns = (0..tablet.schema().columns.len()).collect();
    let mut scan = tablet.snapshot(at).scan(ScanSpec { columns, ..ScanSpec::default() });
    let mut rows = Vec::new();
    while let Some(batch) = scan.next().await.unwrap() {
        rows.extend(texts(&batch));
    }
    rows.sort();
    rows
}
