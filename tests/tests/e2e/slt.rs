//! `tests/slt/statements`: what statements must answer, over MySQL, with one core and with three. The form of the files is in their README.md.

use std::path::{Path, PathBuf};

use starling_tests::Server;
use starling_tests::server::DataDir;
use starling_wire::{ClientError, MysqlClient, QueryResult, Value};

/// What a record says must come.
#[derive(Debug)]
enum Wanted {
    /// OK, and how many rows were affected, where it matters.
    Done(Option<u64>),
    /// An error's number, and what its message contains.
    Error(u16, String),
    /// Rows; `names`: the first is the columns'. `sorted`: in any order.
    Rows { names: bool, sorted: bool, rows: Vec<String> },
    /// Rows that contain these texts, each somewhere.
    Contains(Vec<String>),
}

struct Record {
    line: usize,
    sql: String,
    wanted: Wanted,
}

fn wanted(head: &str, line: usize) -> Wanted {
    let words: Vec<&str> = head.split(' ').collect();
    match words[..] {
        ["statement", "ok"] => Wanted::Done(None),
        ["statement", "ok", count] => Wanted::Done(Some(count.parse().unwrap())),
        ["statement", "error", code, ..] => {
            let text = head.splitn(4, ' ').nth(3).unwrap_or_default();
            Wanted::Error(code.parse().unwrap(), text.to_string())
        }
        ["query", ref options @ ..] => {
            let (names, sorted) = (options.contains(&"names"), options.contains(&"sorted"));
            assert_eq!(options.len(), usize::from(names) + usize::from(sorted), "line {line}: {head}");
            Wanted::Rows { names, sorted, rows: Vec::new() }
        }
        ["contains"] => Wanted::Contains(Vec::new()),
        _ => panic!("line {line}: {head}"),
    }
}

fn records(text: &str) -> Vec<Record> {
    let mut lines = text.lines().enumerate().peekable();
    let mut records = Vec::new();
    while let Some((at, head)) = lines.next() {
        if head.is_empty() || head.starts_with('#') {
            continue;
        }
        let mut wanted = wanted(head, at + 1);
        let mut sql = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty() && *line != "----") {
            sql.push(line);
        }
        assert!(!sql.is_empty(), "line {}: no statement", at + 1);
        if lines.next_if(|(_, line)| *line == "----").is_some() {
            let mut found = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
                found.push(line.to_string());
            }
            match &mut wanted {
                Wanted::Rows { rows, .. } => *rows = found,
                Wanted::Contains(texts) => *texts = found,
                _ => panic!("line {}: results of a statement that gives none", at + 1),
            }
        }
        records.push(Record { line: at + 1, sql: sql.join("\n"), wanted });
    }
    records
}

fn cell(value: &Value) -> String {
    match value.to_string() {
        text if text.is_empty() => "(empty)".into(),
        text => text.replace('\n', "\\n").replace('\t', "\\t"),
    }
}

fn rows(result: &QueryResult, names: bool) -> Vec<String> {
    let header = result.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>().join("\t");
    let rows = result.rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join("\t"));
    names.then_some(header).into_iter().chain(rows).collect()
}

fn check(client: &mut MysqlClient, record: &Record) -> Result<(), String> {
    match (client.query(&record.sql), &record.wanted) {
        (Ok(result), Wanted::Done(count)) if count.is_none_or(|count| count == result.affected) => Ok(()),
        (Ok(result), Wanted::Done(count)) => Err(format!("{} rows affected, not {count:?}", result.affected)),
        (Ok(result), Wanted::Rows { names, sorted, rows: wanted }) => {
            let mut found = rows(&result, *names);
            if *sorted {
                found[usize::from(*names)..].sort();
            }
            match &found == wanted {
                true => Ok(()),
                false => Err(format!("answers\n{}\n   should be\n{}", found.join("\n"), wanted.join("\n"))),
            }
        }
        (Ok(result), Wanted::Contains(texts)) => {
            let found = rows(&result, true).join("\n");
            match texts.iter().find(|text| !found.contains(*text)) {
                None => Ok(()),
                Some(missing) => Err(format!("answers\n{found}\n   without {missing}")),
            }
        }
        (Ok(result), Wanted::Error(..)) => Err(format!("succeeds: {:?}", rows(&result, true))),
        (Err(ClientError::Server(error)), Wanted::Error(code, text))
            if error.code == *code && error.message.contains(text) =>
        {
            Ok(())
        }
        (Err(error), _) => Err(format!("fails: {error}")),
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt/statements");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "slt")).collect();
    files.sort();
    files
}

/// Each file has a database of its own.
fn run(server: &Server, path: &Path, failures: &mut Vec<String>) -> usize {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut client = server.database(&name);
    let records = records(&std::fs::read_to_string(path).unwrap());
    for record in &records {
        if let Err(failure) = check(&mut client, record) {
            failures.push(format!("{name}.slt:{}: {}\n   {failure}", record.line, record.sql));
        }
    }
    records.len()
}

#[test]
fn statements_answer_what_their_files_say() {
    for cores in [1, 3] {
        let data = DataDir::new("slt");
        let server = Server::start(&data, cores);
        let mut failures = Vec::new();
        let count: usize = files().iter().map(|path| run(&server, path, &mut failures)).sum();
        let failed = failures.len();
        assert!(failures.is_empty(), "{cores} cores: {failed} of {count} fail:\n\n{}", failures.join("\n\n"));
        assert!(count > 200, "only {count} records were found");
    }
}
