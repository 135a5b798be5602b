//! Stream Load: headers, CSV, JSON.

use std::sync::Arc;

use starling_engine::load::csv::{CsvReader, Step};
use starling_engine::load::json::JsonReader;
use starling_engine::load::spec::{self, CsvFormat, Format, LoadSpec};
use starling_engine::load::target;
use starling_storage::rows::Rows;
use starling_storage::schema::{Column, ColumnType, DefaultValue, TableKind, TabletSchema};

use crate::corpus;
use crate::fuzz::{Form, Fuzz};

const NOW: &str = "2026-01-01 00:00:00";

/// A column of every type.
fn schema(kind: TableKind) -> Arc<TabletSchema> {
    let types = [
        ("k", ColumnType::BigInt),
        ("bo", ColumnType::Boolean),
        ("ti", ColumnType::TinyInt),
        ("la", ColumnType::LargeInt),
        ("f", ColumnType::Float),
        ("d", ColumnType::Double),
        ("de", ColumnType::Decimal { precision: 38, scale: 10 }),
        ("da", ColumnType::Date),
        ("dt", ColumnType::DateTime),
        ("ch", ColumnType::Char(5)),
        ("vc", ColumnType::Varchar(10)),
    ];
    let column = |(id, (name, ty)): (u32, (&str, ColumnType))| Column {
        id,
        name: name.into(),
        ty,
        nullable: id > 0,
        default: (name == "vc").then(|| DefaultValue::Literal("none".into())),
        comment: String::new(),
    };
    Arc::new(TabletSchema {
        version: 1,
        kind,
        columns: (0..).zip(types).map(column).collect(),
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    })
}

/// What a reader gives: rows as text, and how many were rejected.
#[derive(Debug, PartialEq)]
struct Given {
    rows: Vec<String>,
    rejected: u64,
}

fn keep(given: &mut Given, rows: Option<Rows>) {
    let Some(rows) = rows else { return };
    for row in 0..rows.len() {
        given.rows.push(format!("{:?} {}", rows.batch.slice(row, 1), rows.is_delete(row)));
    }
}

fn csv(spec: &LoadSpec, format: &CsvFormat, body: &[u8], cut: usize) -> Option<Given> {
    let schema = schema(TableKind::PrimaryKey);
    let target = target::build(&schema, spec.columns.as_deref(), false).ok()?;
    let mut reader = CsvReader::new(&schema, format.clone(), target, spec.strict_mode, NOW);
    let mut given = Given { rows: Vec::new(), rejected: 0 };
    for chunk in body.chunks(cut) {
        while reader.feed(chunk).ok()? == Step::Full {
            keep(&mut given, reader.builder().take());
        }
    }
    reader.finish();
    keep(&mut given, reader.builder().take());
    given.rejected = reader.rejects.count();
    assert_eq!(reader.rejects.log().lines().count() as u64 > 0, given.rejected > 0);
    Some(given)
}

fn json(spec: &LoadSpec, array: bool, body: &[u8], cut: usize) -> Result<Given, String> {
    let schema = schema(TableKind::PrimaryKey);
    let target = target::build(&schema, spec.columns.as_deref(), true)?;
    let mut reader = JsonReader::new(&schema, array, target, spec.strict_mode, NOW);
    let mut given = Given { rows: Vec::new(), rejected: 0 };
    for chunk in body.chunks(cut) {
        while reader.feed(chunk)? == Step::Full {
            keep(&mut given, reader.builder().take());
        }
    }
    reader.finish();
    keep(&mut given, reader.builder().take());
    given.rejected = reader.rejects.count();
    Ok(given)
}

/// An input is headers, an empty line, a body.
fn load(input: &[u8]) -> Option<(LoadSpec, &[u8])> {
    let end = input.windows(2).position(|window| window == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(&input[..end]).ok()?, &input[end + 2..]);
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let spec = spec::parse(headers).map_err(|message| assert!(!message.is_empty())).ok()?;
    Some((spec, body))
}

/// What is read does not depend on how the bytes arrive.
fn check(input: &[u8]) {
    let Some((spec, body)) = load(input) else { return };
    drop(target::build(&schema(TableKind::Duplicate), spec.columns.as_deref(), false));
    let cut = 1 + body.len() % 17;
    match &spec.format {
        Format::Csv(format) => {
            let whole = csv(&spec, format, body, usize::MAX);
            assert_eq!(csv(&spec, format, body, cut), whole, "pieces of {cut} bytes");
        }
        Format::Json { strip_outer_array } => {
            let whole = json(&spec, *strip_outer_array, body, usize::MAX);
            assert_eq!(json(&spec, *strip_outer_array, body, cut), whole, "pieces of {cut} bytes");
        }
    }
}

#[test]
fn csv_bodies() {
    Fuzz::new("csv", Form::Bytes, &corpus("csv")).run(4_000, check);
}

#[test]
fn json_bodies() {
    Fuzz::new("json", Form::Bytes, &corpus("json")).run(4_000, check);
}

#[test]
fn headers() {
    Fuzz::new("headers", Form::Text, &corpus("headers")).run(8_000, check);
}
