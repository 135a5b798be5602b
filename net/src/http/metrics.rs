//! GET /metrics: Prometheus text of the edges and of the engine.

use crate::http::Context;

/// All metrics of all cores.
pub async fn prometheus(context: &Context) -> String {
    let mut out = String::new();
    context.socket.all_stats().prometheus(&mut out);
    out
}
