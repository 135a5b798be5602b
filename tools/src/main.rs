//! `starling-inspect`: prints what the files of a data directory hold. It opens them for reading only and works beside a running server, whose
//! files then change under it; damage is printed with file, offset, expected and found, and makes the exit code 1.
//!
//! | part | what |
//! |---|---|
//! | `disk.rs` | storage's disk, without writing |
//! | `kind.rs` | what a file is, by its name or its bytes |
//! | `segment.rs` `blocks.rs` `root.rs` | one file |
//! | `directory.rs` | a whole data directory |
//! | `text.rs` | values as text |

mod blocks;
mod directory;
mod disk;
mod kind;
mod root;
mod segment;
mod text;

use clap::Parser;
use kind::Kind;
use starling_storage::Result;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints what the files of a Starling data directory hold; changes nothing.
#[derive(Parser)]
#[command(name = "starling-inspect", version)]
struct Arguments {
    /// A data directory, or a file of one: seg/*.seg, log/*.log, manifest/*.man, root.
    path: PathBuf,
    /// Segments: print so many rows.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rows: u32,
    /// Segments: print the zone map of every vector, not only that of the segment.
    #[arg(long)]
    zones: bool,
    /// Logs and manifests: print every block, not only the records.
    #[arg(long)]
    blocks: bool,
}

/// What to print, and where to.
struct Report<'a> {
    out: &'a mut dyn Write,
    rows: u32,
    zones: bool,
    blocks: bool,
    /// Whether anything was damaged.
    damaged: bool,
    /// A failure of the output: nothing more is printed.
    failed: Option<std::io::Error>,
}

impl Report<'_> {
    /// Prints a line.
    fn line(&mut self, line: impl std::fmt::Display) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
    }

    /// Prints damage or another failure, and goes on.
    fn problem(&mut self, error: impl std::fmt::Display) {
        self.damaged = true;
        self.line(format_args!("!! {error}"));
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let Arguments { rows, zones, blocks, .. } = arguments;
    let mut report = Report { out: &mut out, rows, zones, blocks, damaged: false, failed: None };
    let result = futures_lite::future::block_on(inspect(&arguments.path, &mut report));
    let (damaged, failed) = (report.damaged, report.failed.take());
    let written = failed.map_or(Ok(()), Err).and_then(|()| out.flush());
    if let Err(error) = written {
        // Someone who reads only the first lines closes the pipe.
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("starling-inspect: standard output: {error}");
            return ExitCode::FAILURE;
        }
    }
    if let Err(error) = &result {
        eprintln!("starling-inspect: {error}");
    }
    if result.is_err() || damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn inspect(path: &Path, report: &mut Report<'_>) -> Result<()> {
    if path.is_dir() {
        return directory::print(&disk::open(path), report).await;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let disk = disk::open(path.parent().unwrap_or(Path::new("")));
    match kind::of(&disk, &name).await? {
        Kind::Root => root::print(&disk, &name, report).await,
        Kind::Segment(id) => segment::print(&disk, &name, id, report).await,
        Kind::Blocks(stream, number) => blocks::print(&disk, &name, stream, number, report).await,
    }
}
