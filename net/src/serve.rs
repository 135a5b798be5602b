//! One running server: the ports are bound first, so that a port in use is known before the data directory is touched; then the node
//! starts and recovers; then connections are taken. The stop goes the other way.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use starling_engine::error::EngineError;
use starling_engine::runtime::{Class, Node, NodeOptions, StopReport};
use starling_engine::shard::Core;
use starling_storage::ids::CoreId;

use crate::listen::{self, Arrival, Intakes, OpenGauge};
use crate::socket::{Socket, Watch};
use crate::stats::Stats;
use crate::{http, mysql};

/// How long a stop waits for those who are still to be answered; who does not read his answer does not hold it up longer.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// What an operator chooses.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The data directory; made when it does not exist.
    pub data: PathBuf,
    /// Executors.
    pub cores: u16,
    /// Address of the MySQL port; port 0 takes a free one.
    pub mysql: SocketAddr,
    /// Address of the HTTP port.
    pub http: SocketAddr,
    /// Bytes for everything.
    pub memory: u64,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "cannot listen on {address} for {what}: {source}; another server may have the port, see --mysql and --http"
    )]
    Bind { what: &'static str, address: SocketAddr, source: io::Error },
    #[error("{}", .0.message)]
    Engine(EngineError),
}

/// A running server.
pub struct Server {
    node: Node,
    stats: Arc<Stats>,
    mysql: Port,
    http: Port,
    stopping: Arc<AtomicBool>,
}

/// A bound port: the acceptor has the listener, and this second handle ends its accept.
struct Port {
    address: SocketAddr,
    handle: TcpListener,
}

impl Server {
    /// Binds, starts the node (recovery included), serves. Blocks until connections are taken.
    pub fn start(options: ServeOptions) -> Result<Server, ServeError> {
        let (mysql_listener, mysql) = bind("MySQL", options.mysql)?;
        let (http_listener, http) = bind("HTTP", options.http)?;
        let ServeOptions { data, cores, memory, .. } = options;
        let node = Node::start(NodeOptions::new(data, cores, memory)).map_err(ServeError::Engine)?;
        let server = Server { stats: Stats::new(node.cores()), node, mysql, http, stopping: Arc::default() };
        server.serve(mysql_listener, http_listener).map_err(ServeError::Engine)?;
        Ok(server)
    }

    fn serve(&self, mysql_listener: TcpListener, http_listener: TcpListener) -> Result<(), EngineError> {
        let (mysql_intakes, mysql_arrivals) = listen::intakes(self.node.cores());
        let (http_intakes, http_arrivals) = listen::intakes(self.node.cores());
        for (core, (mysql, http)) in mysql_arrivals.into_iter().zip(http_arrivals).enumerate() {
            let stats = self.stats.clone();
            self.node.run_on(CoreId(core as u16), move |core| async move { serve_core(&core, &stats, mysql, http) })?;
        }
        self.accept("mysql accept", mysql_listener, mysql_intakes, MYSQL)?;
        self.accept("http accept", http_listener, http_intakes, HTTP)
    }

    /// Core 0 accepts.
    fn accept(
        &self,
        name: &'static str,
        listener: TcpListener,
        intakes: Intakes,
        gauge: OpenGauge,
    ) -> Result<(), EngineError> {
        let (stats, stopping) = (self.stats.clone(), self.stopping.clone());
        self.node.run_on(CoreId(0), move |core| async move {
            core.spawn(Class::Control, name, listen::accept(listener, intakes, stats, gauge, stopping));
        })
    }

    /// The MySQL address, with the port that was taken.
    pub fn mysql_address(&self) -> SocketAddr {
        self.mysql.address
    }

    /// The HTTP address.
    pub fn http_address(&self) -> SocketAddr {
        self.http.address
    }

    /// What the edges have counted.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Stops in order: no new connections, no more requests, what runs is cancelled and answered so, then the node (commits in flight,
    /// background work, files). Blocks.
    pub fn stop(self) -> StopReport {
        self.stopping.store(true, Ordering::Release);
        for port in [&self.mysql, &self.http] {
            // Ends the pending accept; an error only says that it had ended already.
            drop(socket2::SockRef::from(&port.handle).shutdown(std::net::Shutdown::Both));
        }
        for core in (0..self.node.cores()).map(CoreId) {
            if let Err(error) = self.node.run_on(core, |_| async { Watch::current().hang_up() }) {
                tracing::warn!(%core, %error, "connections were not told of the stop");
            }
        }
        let until = Instant::now() + ANSWER_MAX;
        while self.open_connections() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.node.stop()
    }

    fn open_connections(&self) -> u64 {
        self.stats.sum(|core| &core.mysql_open) + self.stats.sum(|core| &core.http_open)
    }
}

const MYSQL: OpenGauge = |core| &core.mysql_open;
const HTTP: OpenGauge = |core| &core.http_open;

fn bind(what: &'static str, address: SocketAddr) -> Result<(TcpListener, Port), ServeError> {
    let bound = || -> io::Result<_> {
        let listener = listen::bind(address)?;
        let port = Port { address: listener.local_addr()?, handle: listener.try_clone()? };
        Ok((listener, port))
    };
    bound().map_err(|source| ServeError::Bind { what, address, source })
}

/// What every core runs: the watch over its sockets, and the intakes that turn arrivals into tasks.
fn serve_core(
    core: &Rc<Core>,
    stats: &Arc<Stats>,
    mysql_arrivals: flume::Receiver<Arrival>,
    http_arrivals: flume::Receiver<Arrival>,
) {
    let watch = Watch::current();
    core.spawn(Class::Control, "socket watch", watch.clone().run());
    let adopt = |core: &Rc<Core>| {
        let (core, stats, watch) = (core.clone(), stats.clone(), watch.clone());
        move |stream| match Socket::new(stream, core.id(), stats.clone()) {
            Ok(socket) => {
                core.metrics().connection_accepted();
                watch.add(&socket);
                Some(socket)
            }
            // The client left between the accept and now.
            Err(error) => {
                tracing::debug!(%error, "connection gone before it was served");
                None
            }
        }
    };
    let (on, take) = (core.clone(), adopt(core));
    let mysql = move |arrival: Arrival| {
        if let Some(socket) = take(arrival.stream) {
            on.spawn(Class::Control, "mysql session", mysql::serve(on.clone(), socket, arrival.guard));
        }
    };
    core.spawn(Class::Control, "mysql intake", listen::intake(mysql_arrivals, mysql));
    let (on, take) = (core.clone(), adopt(core));
    let http = move |arrival: Arrival| {
        if let Some(socket) = take(arrival.stream) {
            on.spawn(Class::Load, "http connection", http::serve(on.clone(), socket, arrival.guard));
        }
    };
    core.spawn(Class::Control, "http intake", listen::intake(http_arrivals, http));
}
