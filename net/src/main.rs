//! The `starling` binary: `serve`, `doctor`, `demo`.
//!
//! A start that fails says why in one sentence and exits with 1. SIGTERM and SIGINT stop cleanly with 0.

use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
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
    Demo,
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
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory: Option<u64>,
}

#[derive(Args)]
struct Doctor {
    /// The data directory to try direct I/O in.
    #[arg(long, default_value = "./starling-data", value_name = "DIR")]
    data: PathBuf,
    /// Executors [default: all CPUs].
    #[arg(long, value_name = "N")]
    cores: Option<u16>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let done = match cli.command {
        Command::Serve(serve) => run_server(serve),
        Command::Doctor(doctor) => examine(&doctor),
        Command::Demo => Err("the demo is not part of this build yet; run `starling serve`".into()),
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
    // Before any other thread exists: threads inherit what is blocked.
    let stop = signals::block().map_err(|error| format!("signals cannot be blocked: {error}"))?;
    machine::raise_limits();
    let cores = serve.cores.unwrap_or_else(machine::cpus);
    let (report, can_start) = doctor::report(&doctor::examine(&serve.data, cores));
    if !can_start {
        return Err(format!("this machine cannot run the server:\n{report}"));
    }
    for address in [serve.mysql, serve.http].iter().filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "listening beyond this machine while root has no password");
    }
    let options = ServeOptions {
        data: serve.data,
        cores,
        mysql: serve.mysql,
        http: serve.http,
        memory: serve.memory.unwrap_or_else(machine::memory_default),
    };
    let server = Server::start(options).map_err(|error| error.to_string())?;
    say(&format!("ready: mysql {} http {}", server.mysql_address(), server.http_address()));
    let signal = stop.wait();
    tracing::info!(signal, "stops");
    stop.insist();
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
        assert_eq!(address(":9030").unwrap().to_string(), "127.0.0.1:9030");
        assert!(address("nonsense").is_err());
    }
}
