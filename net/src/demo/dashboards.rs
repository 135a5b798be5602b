//! The readers: a dashboard that refreshes over and over, and a watch that asks for the heartbeat row until it sees each batch.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use starling_wire::client::{ClientError, MysqlClient};

use super::DemoError;
use super::feed::{HEARTBEAT, days_ago};
use super::figures::Figures;

/// Pause between two queries of the dashboard.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause between two looks for the heartbeat.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Refreshes the dashboard until the end.
pub(super) fn run(address: SocketAddr, figures: &Figures, end: &AtomicBool) -> Result<(), DemoError> {
    let mut client = connect(address)?;
    let mut number = 0u64;
    while !end.load(Ordering::Acquire) {
        for sql in queries(number) {
            let started = Instant::now();
            client.query(&sql).map_err(failed)?;
            figures.queried(started.elapsed());
            std::thread::sleep(PAUSE);
        }
        number += 1;
    }
    Ok(())
}

fn queries(number: u64) -> [String; 4] {
    let since = days_ago(15);
    [
        format!(
            "SELECT status, COUNT(*), SUM(amount) FROM orders WHERE updated_at >= from_unixtime({since}) \
             GROUP BY status ORDER BY status"
        ),
        "SELECT date_trunc('day', updated_at) AS day, COUNT(*), SUM(amount), AVG(amount) FROM orders GROUP BY day ORDER BY day"
            .into(),
        "SELECT order_id, status, amount FROM orders WHERE status = 'PAID' ORDER BY amount DESC, order_id LIMIT 10".into(),
        format!("SELECT status, amount, updated_at FROM orders WHERE order_id = 'o-{:012}'", number * 7919 % 200_000),
    ]
}

/// Asks for the heartbeat until the end: the first sight of a batch's number is its freshness.
pub(super) fn watch(address: SocketAddr, figures: &Figures, end: &AtomicBool) -> Result<(), DemoError> {
    let mut client = connect(address)?;
    let sql = format!("SELECT amount FROM orders WHERE order_id = '{HEARTBEAT}'");
    while !end.load(Ordering::Acquire) {
        let result = client.query(&sql).map_err(failed)?;
        let seen = Instant::now();
        let number = result.scalar().map(ToString::to_string).and_then(|text| text.split('.').next()?.parse().ok());
        if let Some(number) = number {
            figures.batch_seen(number, seen);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn connect(address: SocketAddr) -> Result<MysqlClient, DemoError> {
    let mut client = MysqlClient::connect(address).map_err(failed)?;
    client.init_db("demo").map_err(failed)?;
    Ok(client)
}

fn failed(source: ClientError) -> DemoError {
    DemoError::Client { what: "query", source }
}
