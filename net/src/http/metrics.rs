//! GET /metrics: Prometheus text of the edges and of the engine.

use starling_engine::metrics;

use crate::http::Context;
use crate::process;

/// All metrics of all cores.
pub async fn prometheus(context: &Context) -> String {
    let mut out = String::new();
    let stats = context.socket.all_stats();
    stats.prometheus(&mut out);
    process::prometheus(&mut out, stats.uptime());
    match metrics::scrape(&context.core).await {
        Ok(engine) => out.push_str(&engine),
        // A core that stops does not answer; what the edges know is still worth having.
        Err(error) => tracing::warn!(%error, "engine metrics not read"),
    }
    out
}
