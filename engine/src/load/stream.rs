//! One Stream Load, from its headers to its reply. The body is parsed as it comes and never held whole: a full batch goes to the
//! owners before the next bytes are read, so a slow disk slows the client down.
//!
//! Core: the connection's. The reply says everything; there is no other error.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use starling_storage::schema::TabletSchema;
use std::sync::Arc;

use super::csv::{CsvReader, Step};
use super::json::JsonReader;
use super::rejects::Rejects;
use super::reply::{Reply, Status};
use super::spec::{self, Format, LoadSpec};
use super::{error_log, target};
use crate::catalog::{HIDDEN_DATABASE, Table};
use crate::error::EngineError;
use crate::limits::TIME_SLICE;
use crate::runtime::timer;
use crate::shard::Core;
use crate::txn::{Committed, Load, LoadKind, LoadOptions};

/// Bytes parsed between looks at the clock.
const PIECE_BYTES: usize = 32 * 1024;

/// Why a body ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError(pub String);

/// What a client asks for.
pub struct Request<'a> {
    /// Database of the path.
    pub database: &'a str,
    /// Table of the path.
    pub table: &'a str,
    /// Headers as they came.
    pub headers: Vec<(String, String)>,
    /// Begin of ErrorURL: `http://host:port`.
    pub base_url: String,
}

/// Runs one load.
pub async fn stream_load<S>(core: &Rc<Core>, request: Request<'_>, body: S) -> Reply
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    let started = Instant::now();
    let label = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("label"));
    let label = label.map(|(_, value)| value.clone()).unwrap_or_default();
    let mut reply = match open(core, &request).await {
        Ok((load, job)) => run(core, load, job, body, &request.base_url).await,
        Err(reply) => reply.with_label(&label),
    };
    reply.total_ms = millis(started);
    reply
}

/// What a load needs to know while it runs.
struct Job {
    spec: LoadSpec,
    reader: Reader,
    begin_ms: u64,
    deadline: Instant,
}

async fn open(core: &Rc<Core>, request: &Request<'_>) -> Result<(Load, Job), Reply> {
    let started = Instant::now();
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let spec = spec::parse(headers).map_err(|message| Reply::fail("", message))?;
    let catalog = core.catalog();
    let table = find(&catalog, request).map_err(|error| Reply::fail("", error.message))?;
    let reader = Reader::new(&table.schema, &spec).map_err(|message| Reply::fail("", message))?;
    let deadline = started + spec.timeout;
    let options = LoadOptions { label: spec.label.clone(), kind: LoadKind::StreamLoad, timeout: spec.timeout };
    let load = core.open_load(table.id, options).await.map_err(|error| refused(&error))?;
    Ok((load, Job { spec, reader, begin_ms: millis(started), deadline }))
}

fn find<'c>(catalog: &'c crate::catalog::Catalog, request: &Request<'_>) -> Result<&'c Arc<Table>, EngineError> {
    let Request { database, table, .. } = request;
    if *database == HIDDEN_DATABASE {
        return Err(EngineError::analyze(format!("the tables of {HIDDEN_DATABASE} are the server's own")));
    }
    catalog.table(database, table)
}

fn refused(error: &EngineError) -> Reply {
    let mut reply = Reply::fail("", error.message.clone());
    if let Some(status) = error.label_status() {
        reply.status = Status::LabelExists(status);
    }
    reply
}

async fn run<S>(core: &Rc<Core>, mut load: Load, mut job: Job, body: S, base_url: &str) -> Reply
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    let mut reply = Reply::fail(load.label(), "");
    reply.txn = load.txn().0 as i64;
    reply.begin_ms = job.begin_ms;
    let outcome = receive(&mut load, &mut job, body, &mut reply).await;
    let rejects = job.reader.rejects();
    reply.filtered_rows = rejects.count();
    reply.total_rows = reply.loaded_rows + reply.filtered_rows;
    if rejects.count() > 0 {
        // A log that cannot be kept must not fail a load that can succeed.
        match error_log::save(core.disk(), load.txn().0, &rejects.log()).await {
            Ok(name) => reply.error_url = Some(format!("{base_url}/api/_load_error_log?file={name}")),
            Err(error) => tracing::warn!(%error, "rejected rows not kept"),
        }
    }
    let checked = outcome.and_then(|()| check(&reply, &job));
    match checked {
        Ok(()) => commit(load, &mut reply).await,
        Err(message) => {
            load.abort().await;
            reply.loaded_rows = 0;
            reply.message = message;
        }
    }
    reply
}

/// Reads and stages the whole body.
async fn receive<S>(load: &mut Load, job: &mut Job, mut body: S, reply: &mut Reply) -> Result<(), String>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
{
    let late = |job: &Job| EngineError::load_timeout(job.spec.timeout.as_secs()).message;
    loop {
        let waiting = Instant::now();
        let next = timer::until(job.deadline, body.next()).await.ok_or_else(|| late(job))?;
        reply.read_ms += millis(waiting);
        let Some(chunk) = next else { break };
        let chunk = chunk.map_err(|BodyError(reason)| reason)?;
        let writing = Instant::now();
        reply.bytes += chunk.len() as u64;
        feed(load, &mut job.reader, &chunk, &mut reply.loaded_rows).await?;
        reply.write_ms += millis(writing);
        if Instant::now() >= job.deadline {
            return Err(late(job));
        }
    }
    job.reader.finish();
    hand_on(load, &mut job.reader, &mut reply.loaded_rows).await
}

async fn feed(load: &mut Load, reader: &mut Reader, chunk: &[u8], rows: &mut u64) -> Result<(), String> {
    let mut slice = Instant::now();
    for piece in chunk.chunks(PIECE_BYTES) {
        let mut step = reader.feed(piece)?;
        while step == Step::Full {
            timer::yield_now().await;
            hand_on(load, reader, rows).await?;
            timer::yield_now().await;
            step = reader.feed(&[])?;
        }
        if slice.elapsed() > TIME_SLICE {
            timer::yield_now().await;
            slice = Instant::now();
        }
    }
    Ok(())
}

async fn hand_on(load: &mut Load, reader: &mut Reader, count: &mut u64) -> Result<(), String> {
    if let Some(rows) = reader.take() {
        *count += rows.len() as u64;
        load.push(rows).await.map_err(|error| error.message)?;
    }
    Ok(())
}

fn check(reply: &Reply, job: &Job) -> Result<(), String> {
    let ratio = reply.filtered_rows as f64 / reply.total_rows.max(1) as f64;
    if ratio > job.spec.max_filter_ratio {
        let first = job.reader.rejects().first().unwrap_or_default();
        return Err(format!("too many filtered rows; the first: {first}"));
    }
    Ok(())
}

async fn commit(load: Load, reply: &mut Reply) {
    let started = Instant::now();
    match load.commit(None).await {
        Ok(Committed { visible, .. }) => {
            reply.status = if visible { Status::Success } else { Status::PublishTimeout };
            reply.message =
                if visible { "OK".into() } else { "committed; it becomes visible later, do not retry".into() };
        }
        Err(error) => {
            reply.loaded_rows = 0;
            if let Some(status) = error.label_status() {
                reply.status = Status::LabelExists(status);
            }
            reply.message = error.message;
        }
    }
    reply.commit_ms = millis(started);
}

fn millis(since: Instant) -> u64 {
    Duration::as_millis(&since.elapsed()) as u64
}

/// One of the formats.
enum Reader {
    Csv(Box<CsvReader>),
    Json(Box<JsonReader>),
}

impl Reader {
    fn new(schema: &Arc<TabletSchema>, spec: &LoadSpec) -> Result<Reader, String> {
        let now = crate::load::now_text();
        let by_name = matches!(spec.format, Format::Json { .. });
        let target = target::build(schema, spec.columns.as_deref(), by_name)?;
        Ok(match &spec.format {
            Format::Csv(format) => {
                Reader::Csv(Box::new(CsvReader::new(schema, format.clone(), target, spec.strict_mode, &now)))
            }
            Format::Json { strip_outer_array } => {
                Reader::Json(Box::new(JsonReader::new(schema, *strip_outer_array, target, spec.strict_mode, &now)))
            }
        })
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Step, String> {
        match self {
            Reader::Csv(reader) => reader.feed(bytes),
            Reader::Json(reader) => reader.feed(bytes),
        }
    }

    fn take(&mut self) -> Option<starling_storage::rows::Rows> {
        match self {
            Reader::Csv(reader) => reader.builder().take(),
            Reader::Json(reader) => reader.builder().take(),
        }
    }

    fn finish(&mut self) {
        match self {
            Reader::Csv(reader) => reader.finish(),
            Reader::Json(reader) => reader.finish(),
        }
    }

    fn rejects(&self) -> &Rejects {
        match self {
            Reader::Csv(reader) => &reader.rejects,
            Reader::Json(reader) => &reader.rejects,
        }
    }
}
