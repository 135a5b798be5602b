//! The `starling` binary: `serve`, `doctor`, `demo`.
//!
//! A start that fails says why in one sentence and exits with 1. SIGTERM and SIGINT stop cleanly with 0.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};
use starling_net::demo::{self, DemoOptions};
use starling_net::serve::{ServeOptions, Server};
use starling_net::{doctor, machine, signals};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time analytics database that speaks MySQL and takes StarRocks' tables, SQL and loads.
#[derive(Parser)]
#[command(name = "starling", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT.
    Serve(Serve),
    /// Says whether this machine can run Starling, and how to mend it.
    Doctor(Doctor),
    /// Starts a server and shows a table being updated while dashboards run.
    Demo(Demo),
}

#[derive(Args)]
struct Demo {
    #[command(flatten)]
    serve: Serve,
    /// Order events a second.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Ends after this long with a summary; without it the demo runs until Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

#[derive(Args)]
struct Serve {
    /// The data directory; made when it does not exist.
    #[arg(long, default_value = "./starling-data", value_name = "DIR")]
    data: PathBuf,
    /// Executors, each a complete worker [default: all CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    cores: Option<u16>,
    /// Address of the MySQL protocol.
    #[arg(long, default_value = "127.0.0.1:9030", value_name = "ADDR", value_parser = address)]
    mysql: SocketAddr,
    /// Address of HTTP: loads, health, metrics.
    #[arg(long, default_value = "127.0.0.1:8030", value_name = "ADDR", value_parser = address)]
    http: SocketAddr,
    /// Memory for everything, in bytes, or with K, M, G [default: 70 % of the machine's or the container's].
    #[arg(long, value_name = "BYTES", value_parser = memory)]
    memory: Option<u64>,
}

impl Serve {
    fn cores(&self) -> u16 {
        self.cores.unwrap_or_else(machine::cpus)
    }
}

#[derive(Args)]
struct Doctor {
    /// The data directory to try direct I/O in.
    #[arg(long, default_value = "./starling-data", value_name = "DIR")]
    data: PathBuf,
    /// Executors [default: all CPUs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    cores: Option<u16>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).with_target(false).init();
    let done = match cli.command {
        Command::Serve(serve) => run_server(serve),
        Command::Doctor(doctor) => examine(&doctor),
        Command::Demo(demo) => run_demo(demo),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("starling: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run_server(serve: Serve) -> Result<(), String> {
    let stop = prepare(&serve)?;
    let server = start(serve)?;
    stop.serving();
    say(&format!("ready: mysql {} http {}", server.mysql_address(), server.http_address()));
    let signal = stop.wait();
    tracing::info!(signal, "stops");
    end(server)
}

/// The server and its demo in one process; they talk over the sockets.
fn run_demo(demo: Demo) -> Result<(), String> {
    let stop = prepare(&demo.serve)?;
    let server = start(demo.serve)?;
    stop.serving();
    let ended = Arc::new(AtomicBool::new(false));
    let (mysql, http) = (server.mysql_address(), server.http_address());
    let options = DemoOptions { mysql, http, rate: demo.rate, seconds: demo.seconds };
    let signalled = ended.clone();
    let waiting = std::thread::Builder::new().name("stop".into()).spawn(move || {
        stop.wait();
        signalled.store(true, Ordering::Release);
    });
    waiting.map_err(|error| format!("no thread for signals: {error}"))?;
    let shown = demo::run(options, &ended).map_err(|error| error.to_string());
    shown.and(end(server))
}

/// What comes before any thread: signals, limits, and whether this machine can do it.
fn prepare(serve: &Serve) -> Result<signals::StopSignals, String> {
    // Before any other thread exists: threads inherit what is blocked.
    let stop = signals::take().map_err(|error| format!("signals cannot be taken: {error}"))?;
    machine::raise_limits();
    let (report, can_start) = doctor::report(&doctor::examine(&serve.data, serve.cores()));
    if !can_start {
        return Err(format!("this machine cannot run the server:\n{report}"));
    }
    for address in [serve.mysql, serve.http].iter().filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "listening beyond this machine while root has no password");
    }
    Ok(stop)
}

fn start(serve: Serve) -> Result<Server, String> {
    let options = ServeOptions {
        cores: serve.cores(),
        data: serve.data,
        mysql: serve.mysql,
        http: serve.http,
        memory: serve.memory.unwrap_or_else(machine::memory_default),
    };
    let ServeOptions { data, cores, memory, .. } = &options;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = %data.display(), cores, memory_mib = memory >> 20, "starts");
    Server::start(options).map_err(|error| error.to_string())
}

fn end(server: Server) -> Result<(), String> {
    let report = server.stop();
    if let Some(error) = report.errors.first() {
        return Err(format!("stopped, but not cleanly: {error}"));
    }
    tracing::info!(commits_drained = report.commits_drained, "stopped");
    Ok(())
}

/// One line on standard output, at once, for who waits for it.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason not to serve.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

fn examine(doctor: &Doctor) -> Result<(), String> {
    machine::raise_limits();
    let cores = doctor.cores.unwrap_or_else(machine::cpus);
    let (report, can_start) = doctor::report(&doctor::examine(&doctor.data, cores));
    say(report.trim_end());
    if can_start { Ok(()) } else { Err("this machine cannot run the server; see FATAL above".into()) }
}

/// `host:port`, or `:port` for 127.0.0.1.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_string() };
    let mut found = full.to_socket_addrs().map_err(|error| format!("{error}; write it as host:port"))?;
    found.next().ok_or_else(|| "the host has no address".into())
}

/// A count of bytes with an optional unit: 1048576, 512M, 8G.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" => 10,
        "M" | "MB" => 20,
        "G" | "GB" => 30,
        "T" | "TB" => 40,
        unit => return Err(format!("unknown unit {unit}; use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| "write it as 1048576, 512M or 8G".to_string())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more bytes than there are".into())
}

/// Less than this a server cannot do anything with.
const MEMORY_MIN: u64 = 64 << 20;

/// A count of bytes that a server can live in.
fn memory(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        bytes if bytes < MEMORY_MIN => Err("a server needs 64M at least".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_and_addresses() {
        assert_eq!(bytes("8G"), Ok(8 << 30));
        assert_eq!(bytes("512mb"), Ok(512 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        for bad in ["", "G", "1X", "-1", "99999999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(memory("64M"), Ok(64 << 20));
        assert!(memory("1").is_err() && memory("63M").is_err());
        assert_eq!(address(":9030").unwrap().to_string(), "127.0.0.1:9030");
        assert!(address("nonsense").is_err());
    }
}
