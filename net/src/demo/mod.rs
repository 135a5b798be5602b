//! The demo: a primary-key table of orders that is updated thousands of times a second, and dashboards that read it meanwhile.
//! Everything goes through the sockets, as a user's would: events by Stream Load, queries by MySQL.
//!
//! | part | what it is |
//! |---|---|
//! | `orders` | the events: inserts, then status updates spread over 20 days |
//! | `feed` | sends them, a batch at a time, at the rate asked for |
//! | `dashboards` | runs the queries, and watches how soon a batch is seen |
//! | `figures` | what all of them measure |
//! | `view` | shows it: a picture on a terminal, a line a second elsewhere, a summary at the end |
//!
//! Plain threads of this process, outside the cores; they hold nothing that the server needs.

mod dashboards;
mod feed;
mod figures;
mod orders;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use starling_wire::client::{ClientError, MysqlClient};

use figures::Figures;

/// Orders there are before the updates begin.
const HISTORY_ORDERS: u64 = 200_000;

/// The table, as a user would write it.
const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS orders (order_id VARCHAR(50) NOT NULL, status VARCHAR(20), \
     amount DECIMAL(10, 2), updated_at DATETIME) PRIMARY KEY(order_id) DISTRIBUTED BY HASH(order_id) BUCKETS 10 \
     PROPERTIES (\"enable_persistent_index\" = \"true\")";

/// What to run against.
#[derive(Debug, Clone, Copy)]
pub struct DemoOptions {
    /// MySQL address of the server.
    pub mysql: SocketAddr,
    /// HTTP address of the server.
    pub http: SocketAddr,
    /// Events a second.
    pub rate: u32,
    /// Ends after this long, with a summary; `None`: runs until it is stopped.
    pub seconds: Option<u64>,
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the demo's {what} failed: {source}")]
    Client { what: &'static str, source: ClientError },
    #[error("the demo's load was refused: {0}")]
    Load(String),
    #[error("the demo's thread {0} cannot be started")]
    Thread(&'static str),
}

/// Runs until `stop` is set or the time is over; prints as it goes.
pub fn run(options: DemoOptions, stop: &Arc<AtomicBool>) -> Result<(), DemoError> {
    let client = |what| move |source| DemoError::Client { what, source };
    let mut admin = MysqlClient::connect(options.mysql).map_err(client("connection"))?;
    for sql in ["CREATE DATABASE IF NOT EXISTS demo", "USE demo", CREATE_TABLE] {
        admin.query(sql).map_err(client("table"))?;
    }
    let figures = Arc::new(Figures::default());
    let mut orders = orders::Orders::new(HISTORY_ORDERS);
    let mut feed = feed::Feed::connect(options.http)?;
    view::say(&format!("loading {HISTORY_ORDERS} orders of the last 20 days"));
    feed.history(&mut orders, &figures, stop)?;
    view::invite(options.mysql);

    let ended = Arc::new(AtomicBool::new(false));
    let mut threads: Vec<JoinHandle<Result<(), DemoError>>> = Vec::new();
    let (shared, end) = (figures.clone(), ended.clone());
    threads.push(thread("feed", move || feed.run(orders, options.rate, &shared, &end))?);
    let (shared, end) = (figures.clone(), ended.clone());
    threads.push(thread("dashboards", move || dashboards::run(options.mysql, &shared, &end))?);
    let (shared, end) = (figures.clone(), ended.clone());
    threads.push(thread("freshness", move || dashboards::watch(options.mysql, &shared, &end))?);

    show(options, &figures, stop, &threads);
    ended.store(true, Ordering::Release);
    let results: Vec<Result<(), DemoError>> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
    view::summary(&figures);
    results.into_iter().collect()
}

fn thread(
    name: &'static str,
    work: impl FnOnce() -> Result<(), DemoError> + Send + 'static,
) -> Result<JoinHandle<Result<(), DemoError>>, DemoError> {
    std::thread::Builder::new().name(name.into()).spawn(work).map_err(|_| DemoError::Thread(name))
}

/// One picture a second, until the end.
fn show(options: DemoOptions, figures: &Figures, stop: &AtomicBool, threads: &[JoinHandle<Result<(), DemoError>>]) {
    let started = Instant::now();
    let mut view = view::View::new(options.mysql, options.rate);
    for second in 1.. {
        let due = started + Duration::from_secs(second);
        while Instant::now() < due {
            if stop.load(Ordering::Acquire) || threads.iter().any(JoinHandle::is_finished) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        view.show(second, &figures.second());
        if options.seconds.is_some_and(|seconds| second >= seconds) {
            return;
        }
    }
}
