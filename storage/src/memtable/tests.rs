use super::*;
use arrow::array::{AsArray, BooleanArray, Decimal128Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("s", DataType::Utf8, true),
        Field::new("d", DataType::Decimal128(10, 2), true),
        Field::new("b", DataType::Boolean, true),
    ]))
}

fn rows(range: std::ops::Range<i64>) -> RecordBatch {
    let some = |i: &i64| i % 3 != 0;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(range.clone())),
        Arc::new(StringArray::from_iter(range.clone().map(|i| some(&i).then(|| format!("row {i}"))))),
        Arc::new(
            Decimal128Array::from_iter(range.clone().map(|i| some(&i).then_some(i as i128)))
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(BooleanArray::from_iter(range.map(|i| some(&i).then_some(i % 2 == 0)))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

#[test]
fn a_snapshot_reads_a_prefix_whatever_the_commit_sizes() {
    let memtable = Memtable::new(schema(), 0).unwrap();
    let (mut next, mut ends) = (0i64, vec![0u32]);
    for (i, size) in [1, 0, 3, 2000, 1, 5000, 900, 900, 900, 900, 900, 7].into_iter().enumerate() {
        let slice = rows(next - next.min(2)..next + size);
        let batch = slice.slice(next.min(2) as usize, size as usize);
        assert_eq!(memtable.append(Seq(i as u64 + 1), &batch).unwrap(), next as u32);
        next += size;
        ends.push(next as u32);
    }
    for (seq, &end) in ends.iter().enumerate() {
        assert_eq!(memtable.rows_at(Seq(seq as u64)), end);
        let batches = memtable.batches(end).unwrap();
        let whole = concat_batches(&schema(), batches.iter().map(|b| &b.1)).unwrap();
        assert_eq!(whole, rows(0..end as i64));
        let mut first = 0;
        for (at, batch) in batches {
            assert_eq!(at, first);
            first += batch.num_rows() as u32;
        }
    }
    assert_eq!(memtable.born(0), Seq(1));
    assert_eq!(memtable.born(1), Seq(3));
    assert_eq!(memtable.born(next as u32 - 1), Seq(12));
    assert_eq!(memtable.span(), Some((Seq(1), Seq(12))));
}

#[test]
fn take_crosses_batches_and_tail() {
    let memtable = Memtable::new(schema(), 0).unwrap();
    memtable.append(Seq(1), &rows(0..1500)).unwrap();
    memtable.append(Seq(2), &rows(1500..1510)).unwrap();
    let picked = [0, 3, 1499, 1500, 1504, 1509];
    let got = memtable.take(&[1, 0], &picked).unwrap();
    assert_eq!(got.column(1).as_primitive::<Int64Type>().values(), &picked.map(i64::from));
    assert!(got.column(0).is_null(0));
    assert_eq!(got.column(0).as_string::<i32>().value(4), "row 1504");
    assert_eq!(memtable.take(&[], &[1, 1501]).unwrap().num_columns(), 0);
    assert_eq!(memtable.take(&[0], &[]).unwrap().num_rows(), 0);
}

#[test]
fn many_small_commits_make_few_batches() {
    let memtable = Memtable::new(schema(), 0).unwrap();
    for i in 0..10_000 {
        memtable.append(Seq(i as u64 + 1), &rows(i..i + 1)).unwrap();
    }
    assert_eq!(memtable.batches(10_000).unwrap().len(), 3);
}
