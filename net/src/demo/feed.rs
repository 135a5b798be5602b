//! Sends the events by Stream Load, a batch at a time. Each batch carries a heartbeat row with its number, by which the freshness
//! watch knows what it sees.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use starling_wire::client::HttpClient;

use super::figures::Figures;
use super::orders::Orders;
use super::{DemoError, orders};

/// Rows of one load of the history.
const HISTORY_BATCH: u64 = 20_000;
/// Loads a second.
const BATCHES_A_SECOND: u32 = 20;
const PATH: &str = "/api/demo/orders/_stream_load";
/// The row by which a batch is recognised.
pub(super) const HEARTBEAT: &str = "heartbeat";

/// The connection that loads.
pub(super) struct Feed {
    http: HttpClient,
    csv: String,
}

impl Feed {
    pub(super) fn connect(address: SocketAddr) -> Result<Feed, DemoError> {
        let http = HttpClient::connect(address).map_err(|source| DemoError::Client { what: "load", source })?;
        Ok(Feed { http, csv: String::new() })
    }

    /// Loads what there is before the updates begin.
    pub(super) fn history(
        &mut self,
        orders: &mut Orders,
        figures: &Figures,
        stop: &AtomicBool,
    ) -> Result<(), DemoError> {
        while orders.history_left() > 0 && !stop.load(Ordering::Acquire) {
            self.csv.clear();
            let rows = orders.history(HISTORY_BATCH, &mut self.csv);
            self.load()?;
            figures.history_rows(rows);
        }
        Ok(())
    }

    /// Loads events at `rate` a second until the end. A server that cannot keep up is sent fewer; the figures show it.
    pub(super) fn run(
        mut self,
        mut orders: Orders,
        rate: u32,
        figures: &Figures,
        end: &AtomicBool,
    ) -> Result<(), DemoError> {
        let every = Duration::from_secs(1) / BATCHES_A_SECOND;
        let rows = u64::from((rate / BATCHES_A_SECOND).max(1));
        let mut due = Instant::now();
        for number in 1.. {
            if end.load(Ordering::Acquire) {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due = (due + every).max(Instant::now() - Duration::from_secs(1));
            self.csv.clear();
            orders.events(rows, &mut self.csv);
            self.csv.push_str(&format!("{HEARTBEAT},BEAT,{number},{}\n", "2026-01-01 00:00:00"));
            let started = Instant::now();
            figures.batch_sent(number, started);
            self.load()?;
            figures.loaded(rows + 1, started.elapsed());
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), DemoError> {
        let headers = [("Authorization", "Basic cm9vdDo="), ("column_separator", ",")];
        let response = self.http.put(PATH, &headers, self.csv.as_bytes());
        let response = response.map_err(|source| DemoError::Client { what: "load", source })?;
        let text = response.text();
        match text.contains("\"Status\": \"Success\"") {
            true => Ok(()),
            false => Err(DemoError::Load(text)),
        }
    }
}

/// The first moment that the dashboards look back to.
pub(super) fn days_ago(days: u64) -> u64 {
    orders::now_seconds() - days * 86_400
}
