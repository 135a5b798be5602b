//! Both readers: the same rows whatever the cuts between chunks, every rejection with its reason, no panic on any bytes.

use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;
use starling_storage::schema::{Column, ColumnType, DefaultValue, TableKind, TabletSchema};

use super::csv::{CsvReader, Step};
use super::json::JsonReader;
use super::spec::CsvFormat;
use super::target::build;

fn schema(kind: TableKind) -> Arc<TabletSchema> {
    let column = |name: &str, ty, nullable, default: Option<&str>| Column {
        id: 0,
        name: name.into(),
        ty,
        nullable,
        default: default.map(|d| DefaultValue::Literal(d.into())),
        comment: String::new(),
    };
    Arc::new(TabletSchema {
        version: 1,
        kind,
        columns: vec![
            column("k", ColumnType::BigInt, false, None),
            column("s", ColumnType::Varchar(10), true, Some("none")),
            column("d", ColumnType::Decimal { precision: 10, scale: 2 }, true, None),
            column("t", ColumnType::DateTime, true, None),
        ],
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    })
}

/// Rows (with `-` before deletes) and the log of rejected ones, reading in chunks of `cut` bytes.
fn csv(format: CsvFormat, columns: Option<&str>, strict: bool, input: &[u8], cut: usize) -> (Vec<String>, String) {
    let schema = schema(TableKind::PrimaryKey);
    let target = build(&schema, columns, false).unwrap();
    let mut reader = CsvReader::new(&schema, format, target, strict, "2026-01-01 00:00:00");
    for chunk in input.chunks(cut.max(1)) {
        while reader.feed(chunk).unwrap() == Step::Full {}
    }
    reader.finish();
    let rows = show(reader.builder().take());
    (rows, reader.rejects.log())
}

fn json(array: bool, input: &[u8], cut: usize) -> Result<(Vec<String>, String), String> {
    let schema = schema(TableKind::PrimaryKey);
    let target = build(&schema, None, true).unwrap();
    let mut reader = JsonReader::new(&schema, array, target, false, "2026-01-01 00:00:00");
    for chunk in input.chunks(cut.max(1)) {
        reader.feed(chunk)?;
    }
    reader.finish();
    let rows = show(reader.builder().take());
    Ok((rows, reader.rejects.log()))
}

fn show(rows: Option<starling_storage::rows::Rows>) -> Vec<String> {
    let Some(rows) = rows else { return Vec::new() };
    let text = pretty_format_batches(std::slice::from_ref(&rows.batch)).unwrap().to_string();
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>().join(",");
    let lines = text.lines().skip(3).filter(|line| line.starts_with('|')).map(cells);
    lines.enumerate().map(|(i, line)| if rows.is_delete(i) { format!("-{line}") } else { line }).collect()
}

fn comma() -> CsvFormat {
    CsvFormat { column_separator: b",".to_vec(), ..CsvFormat::default() }
}

#[test]
fn csv_rows_do_not_depend_on_the_cuts() {
    let input = b"1,one,1.5,2026-01-02 03:04:05\n2,\\N,\\N,\\N\r\n\n3,,7,2026-01-02 00:00:00.25\n4,last,-0.01,2026-01-01 00:00:00";
    let want = csv(comma(), None, false, input, usize::MAX);
    assert_eq!(want.0.len(), 4, "{want:?}");
    assert_eq!(want.0[0], "1,one,1.50,2026-01-02T03:04:05");
    assert_eq!(want.0[1], "2,,,");
    assert_eq!(want.0[2], "3,,7.00,2026-01-02T00:00:00.250");
    for cut in 1..input.len() {
        assert_eq!(csv(comma(), None, false, input, cut), want, "cut {cut}");
    }
}

#[test]
fn csv_enclosing_and_escaping() {
    let quoted = CsvFormat { enclose: Some(b'"'), escape: Some(b'\\'), trim_space: true, ..comma() };
    let input = b"1, \"a,\"\"b\"\"\nx\" ,1,\\N\n2,\"\\N\",2,\\N\n3,c\\,d,3,\\N\n4, e ,4,\\N\n";
    let want = csv(quoted.clone(), None, true, input, usize::MAX);
    assert_eq!(want.1, "");
    assert_eq!(want.0.len(), 5, "a value with a newline takes two lines of the picture: {want:?}");
    assert!(want.0[0].starts_with("1,a,\"b\""));
    assert!(want.0.contains(&"3,c,d,3.00,".to_string()) && want.0.contains(&"4,e,4.00,".to_string()), "{want:?}");
    for cut in 1..input.len() {
        assert_eq!(csv(quoted.clone(), None, true, input, cut), want, "cut {cut}");
    }
}

#[test]
fn csv_separators_of_several_bytes() {
    let format =
        CsvFormat { column_separator: b"||".to_vec(), row_delimiter: b"\x01\x02".to_vec(), ..CsvFormat::default() };
    let input = b"1||a|b||1||\\N\x01\x022||c||2||\\N\x01\x02";
    for cut in 1..input.len() {
        assert_eq!(csv(format.clone(), None, true, input, cut).0, ["1,a|b,1.00,", "2,c,2.00,"]);
    }
}

#[test]
fn csv_rejections_name_the_reason_and_the_row() {
    let input = b"1,a,1\nx,a,1,\\N\n\\N,a,1,\\N\n2,much too long,1,\\N\n3,\xff,1,\\N\n4,ok,1,\\N\n";
    let (rows, log) = csv(comma(), None, true, input, 7);
    assert_eq!(rows, ["4,ok,1.00,"]);
    let lines: Vec<&str> = log.lines().collect();
    for (line, needle) in lines.iter().zip(["Expect 4, but got 3", "'x'", "NULL value", "too long", "UTF-8"]) {
        assert!(line.contains(needle) && line.contains("Row: "), "{line}");
    }
    assert_eq!(lines.len(), 5);
}

#[test]
fn csv_deletes_need_the_key_only() {
    let (rows, log) = csv(comma(), Some("k, s, d, t, __op"), true, b"1,a,1,\\N,0\n2,,bad,,1\n3,a,1,\\N,2\n", 5);
    assert_eq!(rows, ["1,a,1.00,", "-2,,,"]);
    assert!(log.contains("__op"), "{log}");
    let (rows, _) = csv(comma(), Some("k,__op='delete'"), true, b"1\n2\n", 3);
    assert_eq!(rows, ["-1,,,", "-2,,,"]);
    let (rows, _) = csv(comma(), Some("skip,k,kind,__op=kind"), true, b"z,1,delete\nz,2,upsert\n", 3);
    assert_eq!(rows, ["-1,,,", "2,none,,"]);
}

#[test]
fn bad_columns_headers_are_refused() {
    let primary = schema(TableKind::PrimaryKey);
    for bad in ["s", "k,k", "k,x=abs(s)", "k,,s", "k,__op=nothing", "k,lower(s)"] {
        assert!(build(&primary, Some(bad), false).is_err(), "{bad}");
    }
    assert!(build(&schema(TableKind::Duplicate), Some("k,__op"), false).is_err());
}

#[test]
fn json_rows_do_not_depend_on_the_cuts() {
    let input = r#"{"k": 1, "S": "a\"}\u00e9", "d": 1.50, "t": "2026-01-02 03:04:05", "x": {"y": [1]}}
{"d":2,"k":"2"} {"k":3,"s":null,"__op":1}
{"s":"no key"} garbage {"k":5} of one line
{"k":4,"s":true,"d":"7"}"#;
    let want = json(false, input.as_bytes(), usize::MAX).unwrap();
    assert_eq!(want.0, ["1,a\"}\u{e9},1.50,2026-01-02T03:04:05", "2,none,2.00,", "-3,,,", "4,true,7.00,"]);
    assert_eq!(want.1.lines().count(), 2, "{}", want.1);
    let array = format!("[{}]", r#"{"k":1,"s":"a"},{"k":2,"s":"b]"}"#);
    let in_array = json(true, array.as_bytes(), usize::MAX).unwrap();
    assert_eq!(in_array.0, ["1,a,,", "2,b],,"]);
    for cut in 1..input.len() {
        assert_eq!(json(false, input.as_bytes(), cut).unwrap(), want, "cut {cut}");
        assert_eq!(json(true, array.as_bytes(), cut).unwrap(), in_array, "cut {cut}");
    }
    assert!(json(false, array.as_bytes(), 9).is_err());
    assert!(json(true, b"{\"k\":1}", 9).is_err());
}

#[test]
fn json_arrays_that_end_early_or_hold_other_things() {
    for (input, rows, log) in [
        ("[{\"k\":1},{\"k\":2}", &["1,none,,", "2,none,,"][..], "the array is not closed"),
        ("[", &[], "the array is not closed"),
        ("[{\"k\":1},5,{\"k\":2}]", &["1,none,,", "2,none,,"], "Row: 5"),
        ("[null,{\"k\":1}, \"x\"]", &["1,none,,"], "Row: null"),
        ("[]", &[], ""),
        ("", &[], ""),
    ] {
        for cut in 1..=input.len().max(1) {
            let (got, said) = json(true, input.as_bytes(), cut).unwrap();
            assert_eq!(got, rows, "{input} cut {cut}");
            assert!(said.contains(log) && said.is_empty() == log.is_empty(), "{input} cut {cut}: {said}");
        }
    }
}

#[test]
fn a_carriage_return_is_dropped_before_a_newline_only() {
    let ends = |row_delimiter: &[u8]| CsvFormat { row_delimiter: row_delimiter.to_vec(), ..comma() };
    assert_eq!(csv(comma(), Some("k,s"), true, b"1,a\r\n2,b\r", 100).0, ["1,a,,", "2,b,,"]);
    // Elsewhere it is a byte of the value.
    let (rows, log) = csv(ends(b"|"), Some("k,s"), true, b"1,a|2,ten bytes!\r|3,c", 100);
    assert_eq!(rows, ["1,a,,", "3,c,,"]);
    assert!(log.contains("of 11 bytes is too long"), "{log}");
}

#[test]
fn what_is_escaped_is_no_null() {
    let escaped = CsvFormat { escape: Some(b'\\'), ..comma() };
    let (rows, log) = csv(escaped, Some("k,s"), true, b"1,\\N\n2,\\\\N\n", 100);
    assert_eq!((rows, log.as_str()), (vec!["1,,,".to_string(), "2,\\N,,".to_string()], ""));
}

#[test]
fn a_delete_is_spelled_in_any_case_and_once() {
    let (rows, log) = csv(comma(), Some("k,__OP"), true, b"1,Delete\n2,Upsert\n3,DELETE\n", 100);
    assert_eq!((rows, log.as_str()), (vec!["-1,,,".into(), "2,none,,".into(), "-3,,,".into()], ""));
    let primary = schema(TableKind::PrimaryKey);
    for twice in ["k,__op,__op", "k,a,__op,__op=a", "k,a,b,__op=a,__op=b", "k,a,__op='delete',__op=a"] {
        assert!(build(&primary, Some(twice), false).is_err(), "{twice}");
    }
}

#[test]
fn reasons_name_types_as_sql_does() {
    let (_, log) = csv(comma(), None, true, b"1,a,many,\\N\n2,much too long,1,\\N\n", 100);
    assert!(log.contains("decimal(10, 2)") && log.contains("varchar(10)"), "{log}");
}

/// Long records are looked through once, however small the pieces they come in.
#[test]
fn the_end_of_a_long_record_is_searched_for_once() {
    let pieces = |format: &CsvFormat, cut: usize| {
        let schema = schema(TableKind::PrimaryKey);
        let target = build(&schema, None, false).unwrap();
        let mut reader = CsvReader::new(&schema, format.clone(), target, true, "");
        let record = [b"\"".as_slice(), &vec![b'x'; 2 << 20]].concat();
        let begun = std::time::Instant::now();
        for chunk in record.chunks(cut) {
            assert_eq!(reader.feed(chunk), Ok(Step::Hungry));
        }
        begun.elapsed()
    };
    let many = CsvFormat { row_delimiter: b"xy".to_vec(), ..comma() };
    for format in [CsvFormat { enclose: Some(b'"'), ..comma() }, many] {
        let (whole, cut) = (pieces(&format, 2 << 20), pieces(&format, 4 << 10));
        assert!(cut < whole * 20 + std::time::Duration::from_millis(200), "{cut:?} in pieces, {whole:?} whole");
    }
}

#[test]
fn a_batch_of_large_rows_is_handed_on_early() {
    let mut wide = (*schema(TableKind::PrimaryKey)).clone();
    wide.columns[1].ty = ColumnType::Varchar(1 << 20);
    let wide = Arc::new(wide);
    let row = format!("1,{}\n", "x".repeat(1 << 20));
    let target = build(&wide, Some("k,s"), false).unwrap();
    let mut reader = CsvReader::new(&wide, comma(), target, true, "");
    let full = (1..=8).find(|_| reader.feed(row.as_bytes()).unwrap() == Step::Full);
    assert_eq!(full, Some(4), "rows of a mebibyte in a batch of four");
    let target = build(&wide, None, true).unwrap();
    let mut reader = JsonReader::new(&wide, false, target, true, "");
    let row = format!("{{\"k\":1,\"s\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!((1..=8).find(|_| reader.feed(row.as_bytes()).unwrap() == Step::Full), Some(4));
}

proptest! {
    /// No bytes and no cuts make either reader panic, and every line of CSV is either loaded or rejected.
    #[test]
    fn any_bytes(input in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
        let quoted = CsvFormat { enclose: Some(b'"'), escape: Some(b'\\'), ..comma() };
        csv(quoted, None, false, &input, cut);
        csv(comma(), None, true, &input, cut);
        let _ = json(false, &input, cut);
        let _ = json(true, &input, cut);
    }

    /// Damage close to sound input reaches deeper than random bytes do.
    #[test]
    fn damaged_json(at in 0usize..60, byte: u8, cut in 1usize..50) {
        let mut input = br#"{"k": 1, "s": "a\n", "d": 1.5}{"k": 2, "s": [1, {"x": 2}]}   "#.to_vec();
        let len = input.len();
        input[at % len] = byte;
        let _ = json(false, &input, cut);
    }
}
