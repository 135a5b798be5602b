//! Time on the reactor: waiting with a deadline, and giving way. A timer that is dropped early costs nothing.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;

/// Waits.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// The future's value, or `None` at the deadline; the future is dropped then, so it must hold nothing of the kernel's.
pub async fn until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let late = async {
        sleep(deadline.saturating_duration_since(Instant::now())).await;
        None
    };
    async { Some(future.await) }.or(late).await
}

/// Lets other tasks of this core run; called by time slice (design 2).
pub async fn yield_now() {
    glommio::executor().yield_task_queue_now().await;
}
