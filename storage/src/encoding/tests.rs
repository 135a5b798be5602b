//! Every encoding against the array it was made from, and damaged pages.

use super::*;
use crate::disk::SimDisk;
use crate::schema::ColumnType;
use arrow::array::*;
use arrow::buffer::NullBuffer;
use futures_lite::future::block_on;
use proptest::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// A small generator of repeatable numbers (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::key::mix64(self.0)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// How the values of a test column are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Constant,
    Sequence,
    Narrow,
    Runs,
    FewDistinct,
    Extremes,
    Wild,
}

pub(crate) const SHAPES: [Shape; 7] =
    [Shape::Constant, Shape::Sequence, Shape::Narrow, Shape::Runs, Shape::FewDistinct, Shape::Extremes, Shape::Wild];

/// All types.
pub(crate) const TYPES: [ColumnType; 13] = ColumnType::SAMPLES;

fn number(shape: Shape, row: usize, random: &mut Random) -> i128 {
    let wide = |random: &mut Random| (i128::from(random.next()) << 64) | i128::from(random.next());
    match shape {
        Shape::Constant => 42,
        Shape::Sequence => 1_000_000 + row as i128 * 3,
        Shape::Narrow => -500 + i128::from(random.below(1000)),
        Shape::Runs => (row / 300) as i128 * 77_777,
        Shape::FewDistinct => [i128::MIN, 3, -1_000_000_000_000, i128::MAX, 0][random.below(5) as usize],
        Shape::Extremes => [i128::MIN, i128::MAX, i64::MIN.into(), i64::MAX.into(), 0, -1][random.below(6) as usize],
        Shape::Wild => wide(random),
    }
}

fn text(shape: Shape, row: usize, random: &mut Random) -> String {
    match shape {
        Shape::Constant => "same".to_string(),
        Shape::Sequence => format!("order-{row:010}"),
        Shape::Narrow => format!("{}", random.below(1000)),
        Shape::Runs => format!("run {}", row / 300),
        Shape::FewDistinct => ["paid", "shipped", "", "zurückgegeben", "new"][random.below(5) as usize].to_string(),
        Shape::Extremes if row == 700 => "x".repeat(1 << 20),
        Shape::Extremes => ["", "\0", "\u{10ffff}", "a"][random.below(4) as usize].to_string(),
        Shape::Wild => (0..random.below(40)).map(|_| char::from(32 + random.below(90) as u8)).collect(),
    }
}

/// A column of `rows` rows, of which about one in `null_every` is NULL (0: none, 1: all).
pub(crate) fn column(ty: ColumnType, shape: Shape, rows: usize, null_every: u64, seed: u64) -> ArrayRef {
    let mut random = Random(seed);
    let nulls = (null_every > 0).then(|| {
        let mut random = Random(seed ^ 0xabcdef);
        NullBuffer::from((0..rows).map(|_| random.below(null_every) != 0).collect::<Vec<_>>())
    });
    let mut numbers = |row: usize| number(shape, row, &mut random);
    // NaN payloads, infinities, both zeros and subnormals come with the bit patterns of extreme numbers.
    let f64_of = |n: i128, row: usize| match (shape, row % 7) {
        (Shape::Extremes, 0) => -0.0,
        (Shape::Extremes, 1) => f64::from_bits(0x7ff8_0000_dead_beef),
        (Shape::Extremes, 2) => f64::NEG_INFINITY,
        (Shape::Extremes, 3) => f64::from_bits(0xfff0_0000_0000_0001),
        (Shape::Wild, _) => f64::from_bits(n as u64),
        _ => n as f64 / 4.0,
    };
    macro_rules! build {
        ($array:ty, $value:expr) => {
            Arc::new(<$array>::new((0..rows).map($value).collect(), nulls))
        };
    }
    match ty {
        ColumnType::Boolean => {
            let bits: Vec<bool> = (0..rows).map(|row| numbers(row) & 1 == 1).collect();
            Arc::new(BooleanArray::new(bits.into(), nulls))
        }
        ColumnType::TinyInt => build!(Int8Array, |row| numbers(row) as i8),
        ColumnType::SmallInt => build!(Int16Array, |row| numbers(row) as i16),
        ColumnType::Int => build!(Int32Array, |row| numbers(row) as i32),
        ColumnType::BigInt => build!(Int64Array, |row| numbers(row) as i64),
        ColumnType::Date => build!(Date32Array, |row| numbers(row) as i32),
        ColumnType::DateTime => build!(TimestampMicrosecondArray, |row| numbers(row) as i64),
        ColumnType::Float => build!(Float32Array, |row| match shape {
            Shape::Wild => f32::from_bits(numbers(row) as u32),
            _ => f64_of(numbers(row), row) as f32,
        }),
        ColumnType::Double => build!(Float64Array, |row| f64_of(numbers(row), row)),
        ColumnType::LargeInt => {
            let array = Decimal128Array::new((0..rows).map(numbers).collect(), nulls);
            Arc::new(array.with_precision_and_scale(38, 0).unwrap())
        }
        ColumnType::Decimal { precision, scale } => {
            let array = Decimal128Array::new((0..rows).map(|row| numbers(row) >> 40).collect(), nulls);
            Arc::new(array.with_precision_and_scale(precision, scale as i8).unwrap())
        }
        ColumnType::Char(_) | ColumnType::Varchar(_) => {
            let mut random = Random(seed);
            let texts: Vec<String> = (0..rows).map(|row| text(shape, row, &mut random)).collect();
            let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let texts = texts.iter().enumerate().map(|(row, text)| valid(row).then_some(text.as_str()));
            Arc::new(StringArray::from_iter(texts))
        }
    }
}

fn pace() -> Pace {
    Pace::new(SimDisk::new(1).disk())
}

/// Encodes rows of a column; the pages are aligned.
fn encode(ty: ColumnType, array: &ArrayRef, page_bytes: usize) -> Vec<(Range<usize>, bytes::Bytes)> {
    let mut input = ColumnInput::new(ty);
    // In uneven parts, as batches come.
    let mut from = 0;
    for step in [1, 1023, 5, 100_000] {
        let len = step.min(array.len() - from);
        input.append(array, from, len).unwrap();
        from += len;
    }
    let pages = block_on(encode_column(&input, page_bytes, &pace())).unwrap();
    pages.into_iter().map(|page| (page.rows, aligned(&page.bytes))).collect()
}

fn decode(ty: ColumnType, pages: &[(Range<usize>, bytes::Bytes)], rows: Range<usize>) -> ArrayRef {
    let mut output = ColumnOutput::new(ty, rows.len());
    for (range, page) in pages {
        let (from, to) = (rows.start.max(range.start), rows.end.min(range.end));
        if from < to {
            let reader = PageReader::open(page, Physical::of(ty), range.len()).unwrap();
            reader.decode(from - range.start..to - range.start, &mut output).unwrap();
        }
    }
    output.finish().unwrap()
}

fn take(ty: ColumnType, pages: &[(Range<usize>, bytes::Bytes)], rows: &[u32]) -> ArrayRef {
    let mut output = ColumnOutput::new(ty, rows.len());
    for (range, page) in pages {
        let reader = PageReader::open(page, Physical::of(ty), range.len()).unwrap();
        let of_page: Vec<u32> = rows.iter().copied().filter(|&row| range.contains(&(row as usize))).collect();
        reader.take(&of_page, range.start as u32, &mut output).unwrap();
    }
    output.finish().unwrap()
}

/// Equal to the last bit: Arrow's own equality would do for all but the signs of zeros and NaNs.
pub(crate) fn assert_same(expected: &dyn Array, found: &dyn Array, context: &str) {
    assert_eq!(expected.data_type(), found.data_type(), "{context}");
    assert_eq!(expected.null_count(), found.null_count(), "{context}");
    let bits = |array: &dyn Array| -> Option<Vec<Option<u64>>> {
        if let Some(array) = array.as_any().downcast_ref::<Float64Array>() {
            return Some(array.iter().map(|v| v.map(f64::to_bits)).collect());
        }
        let array = array.as_any().downcast_ref::<Float32Array>()?;
        Some(array.iter().map(|v| v.map(|v| u64::from(v.to_bits()))).collect())
    };
    match bits(expected) {
        Some(expected) => assert!(Some(expected) == bits(found), "{context}"),
        None => assert!(expected.to_data() == found.to_data(), "{context}"),
    }
}

fn check(ty: ColumnType, shape: Shape, rows: usize, null_every: u64, page_bytes: usize) {
    let context = format!("{ty:?} {shape:?} rows={rows} null_every={null_every} page_bytes={page_bytes}");
    let array = column(ty, shape, rows, null_every, rows as u64);
    let pages = encode(ty, &array, page_bytes);
    assert_same(&array, &decode(ty, &pages, 0..rows), &context);
    let mut random = Random(7);
    for _ in 0..4 {
        let from = random.below(rows as u64) as usize;
        let to = from + random.below((rows - from) as u64 + 1) as usize;
        assert_same(&array.slice(from, to - from), &decode(ty, &pages, from..to), &context);
    }
    for step in [1, 3, 50, 2000] {
        let chosen: Vec<u32> = (0..rows as u32).filter(|_| random.below(step) == 0).collect();
        let expected = arrow::compute::take(&array, &UInt32Array::from(chosen.clone()), None).unwrap();
        assert_same(&expected, &take(ty, &pages, &chosen), &context);
    }
}

#[test]
fn every_type_and_shape_round_trips() {
    for ty in TYPES {
        for shape in SHAPES {
            for (rows, null_every) in [(1, 0), (1, 1), (1024, 0), (2500, 4), (2500, 1), (5000, 300)] {
                check(ty, shape, rows, null_every, 4096);
            }
        }
    }
}

#[test]
fn a_whole_chunk_round_trips() {
    for ty in [ColumnType::BigInt, ColumnType::Decimal { precision: 10, scale: 2 }, ColumnType::Varchar(100)] {
        for shape in [Shape::Sequence, Shape::FewDistinct, Shape::Wild, Shape::Runs] {
            check(ty, shape, CHUNK_ROWS, 0, 64 << 10);
        }
    }
}

fn encoding_of(ty: ColumnType, array: &ArrayRef) -> (Encoding, usize) {
    let pages = encode(ty, array, 64 << 10);
    let reader = PageReader::open(&pages[0].1, Physical::of(ty), pages[0].0.len()).unwrap();
    (reader.encoding(), pages.iter().map(|page| page.1.len()).sum())
}

#[test]
fn the_smallest_encoding_is_chosen() {
    let (rows, int) = (CHUNK_ROWS, ColumnType::BigInt);
    let of = |ty, shape| encoding_of(ty, &column(ty, shape, rows, 0, 5));
    assert_eq!(of(int, Shape::Constant).0, Encoding::Constant);
    // 10 bits a value.
    let (encoding, bytes) = of(int, Shape::Narrow);
    assert_eq!(encoding, Encoding::Packed);
    assert!(bytes < rows * 10 / 8 + 2000, "{bytes}");
    // Sequences of step 3 take 12 bits in a vector, wherever they are.
    assert!(of(int, Shape::Sequence).1 < rows * 12 / 8 + 2000);
    assert_eq!(of(int, Shape::Runs).0, Encoding::RunLength);
    let (encoding, bytes) = of(int, Shape::FewDistinct);
    assert_eq!(encoding, Encoding::Dictionary);
    assert!(bytes < rows * 3 / 8 + 1000, "{bytes}");
    assert_eq!(of(ColumnType::LargeInt, Shape::Wild).0, Encoding::Plain);
    let text = ColumnType::Varchar(100);
    assert_eq!(of(text, Shape::Constant).0, Encoding::Constant);
    assert_eq!(of(text, Shape::Sequence).0, Encoding::Plain);
    assert_eq!(of(text, Shape::Runs).0, Encoding::RunLength);
    let (encoding, bytes) = of(text, Shape::FewDistinct);
    assert_eq!(encoding, Encoding::Dictionary);
    assert!(bytes < rows * 3 / 8 + 1200, "{bytes}");
    assert_eq!(of(ColumnType::Boolean, Shape::Wild), (Encoding::Packed, 16 + 64 + 256 + 64 * 128));
}

#[test]
fn dictionaries_come_as_codes() {
    let ty = ColumnType::Varchar(20);
    let array = column(ty, Shape::FewDistinct, 3000, 10, 3);
    let pages = encode(ty, &array, 64 << 10);
    let reader = PageReader::open(&pages[0].1, Physical::of(ty), 3000).unwrap();
    let mut values = ColumnOutput::new(ty, 0);
    let codes = reader.dictionary(1024..2500, &mut values).unwrap().unwrap();
    let EncodedColumn::Dictionary { codes, nulls, values, sorted } = codes.with_values(values.finish().unwrap()) else {
        panic!("not a dictionary")
    };
    assert!(sorted);
    let values = values.as_string::<i32>();
    assert!((1..values.len()).all(|i| values.value(i - 1) < values.value(i)));
    let expected = array.as_string::<i32>();
    for (at, &code) in codes.iter().enumerate() {
        let valid = nulls.as_ref().unwrap().is_valid(at);
        assert_eq!(
            expected.is_valid(1024 + at).then(|| expected.value(1024 + at)),
            valid.then(|| values.value(code.into()))
        );
    }
}

#[test]
fn equal_rows_give_equal_bytes_whatever_lies_under_null() {
    let nulls = || Some(NullBuffer::from(vec![false, true, false, true]));
    let a: ArrayRef = Arc::new(Int64Array::new(vec![7, 1, 99, 2].into(), nulls()));
    let b: ArrayRef = Arc::new(Int64Array::new(vec![0, 1, i64::MIN, 2].into(), nulls()));
    assert_eq!(encode(ColumnType::BigInt, &a, 4096), encode(ColumnType::BigInt, &b, 4096));
}

#[test]
fn another_type_is_refused() {
    let mut input = ColumnInput::new(ColumnType::Int);
    let error = input.append(&column(ColumnType::BigInt, Shape::Wild, 3, 0, 1), 0, 3).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
}

/// Reads all of a page that may be damaged in any way; only panics fail.
fn read_anyhow(ty: ColumnType, page: &[u8], rows: usize) {
    let page = aligned(page);
    let Ok(reader) = PageReader::open(&page, Physical::of(ty), rows) else { return };
    let mut output = ColumnOutput::new(ty, rows);
    if reader.decode(0..rows, &mut output).is_ok() {
        let _ = output.finish();
    }
    let mut output = ColumnOutput::new(ty, 3);
    let _ = reader.take(&[0, (rows / 2) as u32, (rows - 1) as u32], 0, &mut output);
    let mut output = ColumnOutput::new(ty, 0);
    let _ = reader.dictionary(0..rows, &mut output);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Checksums aside: a page whose bytes are changed, cut or extended gives values or an error.
    #[test]
    fn damaged_pages_do_not_panic(
        ty in 0..TYPES.len(),
        shape in 0..SHAPES.len(),
        rows in 1usize..3000,
        null_every in 0u64..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        early in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (ty, shape) = (TYPES[ty], SHAPES[shape]);
        prop_assume!(shape != Shape::Extremes || Physical::of(ty) != Physical::Text);
        let array = column(ty, shape, rows, null_every, 11);
        for (range, page) in encode(ty, &array, 4096) {
            let mut page = page.to_vec();
            for (place, byte) in &flips {
                // Half of the cases damage header and directories, where structure is.
                let len = if early { page.len().min(160) } else { page.len() };
                let at = place.index(len);
                page[at] = *byte;
            }
            if let Some(cut) = cut {
                page.truncate(cut.index(page.len()));
            }
            read_anyhow(ty, &page, range.len());
        }
    }

    #[test]
    fn columns_round_trip(
        ty in 0..TYPES.len(),
        shape in 0..SHAPES.len(),
        rows in 1usize..4000,
        null_every in 0u64..5,
        page_bytes in 64usize..20_000,
    ) {
        check(TYPES[ty], SHAPES[shape], rows, null_every, page_bytes);
    }
}

/// Prints rows and bytes per second; `cargo test --release -p starling-storage -- --ignored --nocapture encoding_speed`.
#[test]
#[ignore = "a measurement, not a check"]
fn encoding_speed() {
    let text = ColumnType::Varchar(20);
    let cases = [
        ("bigint packed", ColumnType::BigInt, Shape::Narrow),
        ("bigint sequence", ColumnType::BigInt, Shape::Sequence),
        ("bigint wild", ColumnType::BigInt, Shape::Wild),
        ("int dictionary", ColumnType::BigInt, Shape::FewDistinct),
        ("decimal", ColumnType::Decimal { precision: 10, scale: 2 }, Shape::Narrow),
        ("double", ColumnType::Double, Shape::Narrow),
        ("text dictionary", text, Shape::FewDistinct),
        ("text plain", text, Shape::Sequence),
        ("text runs", text, Shape::Runs),
    ];
    for (name, ty, shape) in cases {
        let array = column(ty, shape, CHUNK_ROWS, 0, 1);
        let time = |work: &mut dyn FnMut()| {
            let (start, mut rounds) = (std::time::Instant::now(), 0);
            while start.elapsed().as_millis() < 300 {
                work();
                rounds += 1;
            }
            start.elapsed().as_secs_f64() / f64::from(rounds) / CHUNK_ROWS as f64
        };
        let pace = pace();
        let mut bytes = 0;
        let mut input = ColumnInput::new(ty);
        let append = time(&mut || {
            input.clear();
            input.append(&array, 0, CHUNK_ROWS).unwrap();
        });
        let encode = time(&mut || {
            let pages = block_on(encode_column(&input, 64 << 10, &pace)).unwrap();
            bytes = pages.iter().map(|page| page.bytes.len()).sum();
        });
        let pages = self::encode(ty, &array, 64 << 10);
        let decoding = time(&mut || drop(decode(ty, &pages, 0..CHUNK_ROWS)));
        let rows: Vec<u32> = (0..CHUNK_ROWS as u32).step_by(1000).collect();
        let taking = time(&mut || drop(take(ty, &pages, &rows))) * CHUNK_ROWS as f64 / rows.len() as f64;
        println!(
            "{name:16} raw {:4.1} B/row  encoded {:5.2} B/row  append {:5.2} ns  encode {:5.2} ns = {:6.0} MB/s raw  \
             decode {:5.2} ns = {:6.0} M rows/s  take {:5.0} ns",
            input.bytes() as f64 / CHUNK_ROWS as f64,
            bytes as f64 / CHUNK_ROWS as f64,
            append * 1e9,
            encode * 1e9,
            input.bytes() as f64 / CHUNK_ROWS as f64 / encode / 1e6,
            decoding * 1e9,
            1e-6 / decoding,
            taking * 1e9,
        );
    }
}
