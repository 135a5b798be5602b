//! Listeners and the way of a connection to its core.
//!
//! One exclusive listener a port: no SO_REUSEPORT, so that a second server fails to start and no hashing decides where connections
//! go. Core 0 accepts and hands each connection to the core that has fewest; that core's intake turns it into a task.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use glommio::net::{AcceptedTcpStream, TcpListener};
use socket2::{Domain, Protocol, Socket, Type};
use starling_storage::ids::CoreId;

use crate::stats::{CoreStats, Stats, count};

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;
/// Connections on their way to one core.
const INTAKE_LANE_MAX: usize = 1024;
/// Pause after an accept that failed, for instance because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Binds and listens, so that a port in use is known before anything else happens.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Not SO_REUSEPORT: this only lets a restarted server bind while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The gauge that a listener's connections are counted by.
pub type OpenGauge = fn(&CoreStats) -> &AtomicU64;

/// A connection on its way to its core, counted as open there from the accept on.
pub struct Arrival {
    pub stream: AcceptedTcpStream,
    pub guard: OpenGuard,
}

/// Counts one connection of one core for as long as it lives.
pub struct OpenGuard {
    stats: Arc<Stats>,
    core: CoreId,
    gauge: OpenGauge,
}

impl OpenGuard {
    fn new(stats: &Arc<Stats>, core: CoreId, gauge: OpenGauge) -> OpenGuard {
        count(gauge(stats.core(core)), 1);
        OpenGuard { stats: stats.clone(), core, gauge }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        (self.gauge)(self.stats.core(self.core)).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Send sides of the intakes of all cores.
pub type Intakes = Vec<flume::Sender<Arrival>>;

/// One lane a core.
pub fn intakes(cores: u16) -> (Intakes, Vec<flume::Receiver<Arrival>>) {
    (0..cores).map(|_| flume::bounded(INTAKE_LANE_MAX)).unzip()
}

/// Accepts on the calling core until `stopping` is set and the listener is shut down.
pub async fn accept(
    listener: StdListener,
    intakes: Intakes,
    stats: Arc<Stats>,
    gauge: OpenGauge,
    stopping: Arc<AtomicBool>,
) {
    let listener = adopt(listener);
    while !stopping.load(Ordering::Acquire) {
        match listener.shared_accept().await {
            Ok(stream) => {
                let core = fewest(&stats, gauge);
                let guard = OpenGuard::new(&stats, core, gauge);
                // The core is gone only when the node stops; then the connection may go with it.
                if intakes[usize::from(core.0)].send_async(Arrival { stream, guard }).await.is_err() {
                    return;
                }
            }
            Err(_) if stopping.load(Ordering::Acquire) => return,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                glommio::timer::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn fewest(stats: &Stats, gauge: OpenGauge) -> CoreId {
    let open = stats.cores().iter().map(|core| gauge(core).load(Ordering::Relaxed));
    let (core, _) = open.enumerate().min_by_key(|(_, open)| *open).expect("a node has at least one core");
    CoreId(core as u16)
}

#[expect(
    unsafe_code,
    reason = "glommio's own bind always sets SO_REUSEPORT; a listener made elsewhere comes in by its descriptor"
)]
fn adopt(listener: StdListener) -> TcpListener {
    let fd = listener.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the only owner of this descriptor, and it is a listening TCP socket.
    unsafe { TcpListener::from_raw_fd(fd) }
}

/// Takes the connections of one core and gives each to `serve`, which spawns its task.
pub async fn intake(arrivals: flume::Receiver<Arrival>, serve: impl Fn(Arrival)) {
    while let Ok(arrival) = arrivals.recv_async().await {
        serve(arrival);
    }
}
