use super::*;
use crate::schema::{Column, ColumnType, TableKind};
use arrow::array::{Int64Array, TimestampMicrosecondArray};
use proptest::prelude::*;

fn schema() -> TabletSchema {
    let types = [
        ColumnType::BigInt,
        ColumnType::Varchar(50),
        ColumnType::Decimal { precision: 10, scale: 2 },
        ColumnType::DateTime,
        ColumnType::Boolean,
    ];
    let column = |(i, ty): (usize, ColumnType)| Column {
        id: i as u32,
        name: format!("c{i}"),
        ty,
        nullable: i > 0,
        default: None,
        comment: String::new(),
    };
    TabletSchema {
        version: 1,
        kind: TableKind::PrimaryKey,
        columns: types.into_iter().enumerate().map(column).collect(),
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    }
}

fn sample(n: i64) -> Rows {
    let schema = schema();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(0..n)),
        Arc::new(StringArray::from_iter((0..n).map(|i| (i % 3 > 0).then(|| format!("value {i} \u{e9}"))))),
        Arc::new(
            Decimal128Array::from_iter((0..n).map(|i| (i % 5 > 0).then_some(i as i128 * -17)))
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(TimestampMicrosecondArray::from_iter_values((0..n).map(|i| i * 1_000_003))),
        Arc::new(BooleanArray::from_iter((0..n).map(|i| Some(i % 2 == 0)))),
    ];
    Rows::upserts(RecordBatch::try_new(schema.arrow(), columns).unwrap())
}

#[test]
fn round_trip_of_whole_and_sliced_batches() {
    for (offset, len) in [(0, 0), (0, 1), (0, 100), (3, 50), (9, 7)] {
        let rows = Rows::upserts(sample(100).batch.slice(offset, len));
        let mut bytes = Vec::new();
        encode(&rows, &mut bytes).unwrap();
        let back = decode(&schema(), &bytes).unwrap();
        assert_eq!(back.batch, rows.batch);
        assert!(back.deletes.is_none());
    }
}

#[test]
fn deletes_may_leave_values_null() {
    let batch = sample(20).batch;
    let mut columns = batch.columns().to_vec();
    columns[1] = arrow::array::new_null_array(&DataType::Utf8, 20);
    let batch = RecordBatch::try_new(relaxed(&schema()), columns).unwrap();
    let rows = Rows { batch, deletes: Some(BooleanBuffer::collect_bool(20, |i| i % 3 == 0)) };
    let mut bytes = Vec::new();
    encode(&rows, &mut bytes).unwrap();
    let back = decode(&schema(), &bytes).unwrap();
    assert_eq!(back.batch, rows.batch);
    assert_eq!(back.deletes, rows.deletes);
}

proptest! {
    /// Bytes from a damaged disk give an error or some rows, never a panic.
    #[test]
    fn damaged_bytes_never_panic(at in 0usize..2000, byte: u8, cut in 0usize..2000) {
        let mut bytes = Vec::new();
        encode(&sample(40), &mut bytes).unwrap();
        let len = bytes.len();
        bytes[at % len] = byte;
        let _ = decode(&schema(), &bytes);
        let _ = decode(&schema(), &bytes[..cut % len]);
    }
}
