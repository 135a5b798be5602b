//! Benchmarks against a real server over its sockets: `starling-bench ID [--scale smoke|std|big] [--runs N] [--json FILE] [--plot FILE]`.
//!
//! | id | what it measures |
//! |---|---|
//! | `a3` | durable upserts a second through Stream Load, order-table replay |
//! | `c2` | one-row durable INSERTs: latency alone, commits a second with 64 clients |
//! | `d1` | prepared point reads: queries a second and their tail |
//! | `dash` | dashboard queries during imports against the same when idle |
//! | `i` | kill -9 to first query over a large primary-key table |
//! | `j` | primary index bytes per random BIGINT key |
//!
//! One line a figure: `id= metric= value= unit= n=`, the same as JSON; with several runs the medians follow, with `min= max= runs=`. "Per core" means per CPU-second of the server. The machine's
//! load at the start is a figure too: a number measured beside other work says so.

mod dash;
mod latency;
mod machine;
mod orders;
mod plot;
mod point;
mod recovery;
mod report;
mod small;
mod target;
mod upsert;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use report::Report;

/// Benchmarks of Starling.
#[derive(Parser)]
#[command(name = "starling-bench")]
struct Cli {
    /// What to measure.
    #[arg(value_enum)]
    id: Id,
    /// How much data.
    #[arg(long, value_enum, default_value = "smoke")]
    scale: Scale,
    /// Write the figures here too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the latencies of the first run, by quantile, as an SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// How often to measure; the figures are then medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Executors of the server.
    #[arg(long, default_value_t = 2)]
    cores: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Id {
    A3,
    C2,
    D1,
    Dash,
    I,
    J,
}

/// Tiers of the suite: a minute, a quarter of an hour, two hours.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    Smoke,
    Std,
    Big,
}

impl Scale {
    /// One of three numbers.
    fn pick<T>(self, smoke: T, std: T, big: T) -> T {
        match self {
            Scale::Smoke => smoke,
            Scale::Std => std,
            Scale::Big => big,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match measure(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("starling-bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Result<(), String> {
    let id = cli.id.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
    let mut report = Report::new(&id);
    for _ in 0..cli.runs {
        report.figure("load_average_before", machine::load_average(), "threads", 1);
        run(cli, &mut report)?;
        report.next_run();
    }
    if cli.runs > 1 {
        report.print_medians();
    }
    if let Some(path) = &cli.json {
        report.write_json(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = &cli.plot {
        let title = format!("{id}: latency by quantile, {} cores", cli.cores);
        std::fs::write(path, plot::svg(&title, report.curves()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn run(cli: &Cli, report: &mut Report) -> Result<(), String> {
    match cli.id {
        Id::A3 => upsert::run(cli.cores, cli.scale, report),
        Id::C2 => small::run(cli.cores, cli.scale, report),
        Id::D1 => point::run(cli.cores, cli.scale, report),
        Id::Dash => dash::run(cli.cores, cli.scale, report),
        Id::I => recovery::run(cli.cores, cli.scale, report),
        Id::J => recovery::index_bytes(cli.cores, cli.scale, report),
    }
}
