//! Whether this machine can run Starling: io_uring and its operations, locked memory, direct I/O on the data directory, open files.
//! Each finding says in one sentence what is missing and how to mend it. `serve` asks the same before it starts, as the runtime
//! itself would panic or fail obscurely.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use io_uring::{IoUring, Probe, opcode};

use crate::machine;

/// Below this the runtime refuses to start (glommio 0.9).
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// What an executor registers for fixed buffers; below it I/O works, a little slower.
const LOCKED_BYTES_PER_CORE: u64 = 32 << 20;
const FILES_MIN: u64 = 1024;
const FILES_GOOD: u64 = 65_536;
/// The unit of direct I/O.
const BLOCK: usize = 4096;
const PATTERN: u8 = 0xA5;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Good,
    /// It runs, but not as well as it could.
    Warning,
    /// It does not run.
    Fatal,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    pub subject: &'static str,
    /// What was found and, unless it is good, how to mend it.
    pub text: String,
}

impl Finding {
    fn new(verdict: Verdict, subject: &'static str, text: impl Into<String>) -> Finding {
        Finding { verdict, subject, text: text.into() }
    }
}

/// Looks at everything a server with this data directory and this many cores needs.
pub fn examine(data: &Path, cores: u16) -> Vec<Finding> {
    vec![io_uring(), locked_memory(cores), direct_io(data), open_files(), cpus(cores), memory()]
}

/// The findings as lines for a terminal, and whether the server can start.
pub fn report(findings: &[Finding]) -> (String, bool) {
    let mut out = String::new();
    for Finding { verdict, subject, text } in findings {
        let word = match verdict {
            Verdict::Good => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Fatal => "FATAL  ",
        };
        out.push_str(&format!("{word} {subject}: {text}\n"));
    }
    (out, findings.iter().all(|finding| finding.verdict < Verdict::Fatal))
}

fn io_uring() -> Finding {
    let subject = "io_uring";
    let ring = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => return Finding::new(Verdict::Fatal, subject, ring_refused(&error)),
    };
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        let text = format!("the kernel cannot be asked for its operations ({error}); use Linux 5.8 or newer");
        return Finding::new(Verdict::Fatal, subject, text);
    }
    let missing: Vec<&str> =
        OPERATIONS.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Finding::new(Verdict::Good, subject, format!("allowed, all {} operations there", OPERATIONS.len()));
    }
    let text = format!("the kernel lacks {}; use Linux 5.8 or newer", missing.join(", "));
    Finding::new(Verdict::Fatal, subject, text)
}

fn ring_refused(error: &io::Error) -> String {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::ENOSYS), _) => "the kernel has no io_uring; use Linux 5.8 or newer".into(),
        (_, "1" | "2") => format!(
            "switched off by kernel.io_uring_disabled={}; run: sysctl -w kernel.io_uring_disabled=0",
            disabled.trim()
        ),
        (Some(libc::EPERM | libc::EACCES), _) => "forbidden, usually by a container's seccomp profile; allow io_uring_setup, \
             io_uring_enter and io_uring_register (Docker: --security-opt seccomp=unconfined or a profile that has them)"
            .into(),
        (Some(libc::ENOMEM), _) => "no locked memory is left for a ring; raise the limit: ulimit -l unlimited".into(),
        _ => format!("a ring cannot be made: {error}"),
    }
}

/// What the runtime and the storage issue.
const OPERATIONS: [(&str, u8); 24] = [
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
];

fn locked_memory(cores: u16) -> Finding {
    let subject = "locked memory";
    let limit = match machine::locked_memory() {
        Ok(limit) => limit.hard,
        Err(error) => return Finding::new(Verdict::Warning, subject, format!("the limit cannot be read: {error}")),
    };
    let wanted = LOCKED_BYTES_PER_CORE * u64::from(cores);
    let mend = format!("ulimit -l {} or LimitMEMLOCK=infinity in the unit file", wanted >> 10);
    if limit < LOCKED_BYTES_MIN {
        let text = format!("the limit of {limit} bytes is under {LOCKED_BYTES_MIN}; raise it: {mend}");
        return Finding::new(Verdict::Fatal, subject, text);
    }
    if limit < wanted && !is_root() {
        let text = format!("the limit of {limit} bytes leaves no room for registered buffers; for more speed: {mend}");
        return Finding::new(Verdict::Warning, subject, text);
    }
    Finding::new(Verdict::Good, subject, if limit == u64::MAX { "unlimited".into() } else { format!("{limit} bytes") })
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn open_files() -> Finding {
    let subject = "open files";
    match machine::open_files() {
        Err(error) => Finding::new(Verdict::Warning, subject, format!("the limit cannot be read: {error}")),
        Ok(limit) if limit.hard < FILES_MIN => {
            let text =
                format!("only {} are allowed, {FILES_MIN} are needed; raise it: ulimit -n {FILES_GOOD}", limit.hard);
            Finding::new(Verdict::Fatal, subject, text)
        }
        Ok(limit) if limit.hard < FILES_GOOD => {
            let mend = format!("ulimit -n {FILES_GOOD} or LimitNOFILE={FILES_GOOD} in the unit file");
            Finding::new(Verdict::Warning, subject, format!("{} are allowed; for many connections: {mend}", limit.hard))
        }
        Ok(limit) => Finding::new(Verdict::Good, subject, format!("{} allowed", limit.hard)),
    }
}

fn cpus(cores: u16) -> Finding {
    let cpus = machine::cpus();
    let text = format!("{cpus} CPUs, {cores} cores asked for");
    if cores > cpus {
        return Finding::new(Verdict::Warning, "cpus", format!("{text}: they share CPUs; use --cores {cpus}"));
    }
    Finding::new(Verdict::Good, "cpus", text)
}

fn memory() -> Finding {
    const MIB: u64 = 1 << 20;
    let all = machine::memory();
    let text = format!("{} MiB usable, {} MiB taken by default", all / MIB, machine::memory_default() / MIB);
    let verdict = if all < 1024 * MIB { Verdict::Warning } else { Verdict::Good };
    Finding::new(verdict, "memory", text)
}

fn direct_io(data: &Path) -> Finding {
    let subject = "direct I/O";
    match try_direct_io(data) {
        Ok(()) => Finding::new(Verdict::Good, subject, format!("works in {}", data.display())),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let text = format!(
                "the file system of {} has no O_DIRECT (tmpfs and some overlay file systems); put --data on ext4 or xfs",
                data.display()
            );
            Finding::new(Verdict::Fatal, subject, text)
        }
        Err(error) => {
            let text = format!("{} cannot be written: {error}; make it a directory of this user", data.display());
            Finding::new(Verdict::Fatal, subject, text)
        }
    }
}

/// Writes and reads one block past the page cache in the data directory. Directories made for that are gone afterwards.
fn try_direct_io(data: &Path) -> io::Result<()> {
    let made: Vec<&Path> = data.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    let tried = fs::create_dir_all(data).and_then(|()| {
        let path = data.join(format!(".doctor-{}", std::process::id()));
        let tried = write_and_read_block(&path);
        drop(fs::remove_file(&path));
        tried
    });
    for path in made {
        // One that somebody has put something into meanwhile stays.
        drop(fs::remove_dir(path));
    }
    tried
}

fn write_and_read_block(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).custom_flags(libc::O_DIRECT).open(path)?;
    // Direct I/O wants memory aligned to blocks: take two and use what is aligned of them.
    let mut memory = vec![0; 2 * BLOCK];
    let begin = memory.as_ptr().align_offset(BLOCK);
    let block = &mut memory[begin..begin + BLOCK];
    block.fill(PATTERN);
    file.write_all_at(block, 0)?;
    file.sync_data()?;
    block.fill(0);
    file.read_exact_at(block, 0)?;
    if block.iter().any(|byte| *byte != PATTERN) {
        return Err(io::Error::other("a block reads back as something else"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_direct_io_is_named() {
        let finding = direct_io(Path::new("/proc/starling"));
        assert_eq!(finding.verdict, Verdict::Fatal);
        assert!(finding.text.contains("/proc/starling"), "{}", finding.text);
    }

    #[test]
    fn looking_leaves_nothing_behind() {
        let parent = std::env::current_exe().unwrap().with_file_name(format!("doctor-{}", std::process::id()));
        assert_eq!(direct_io(&parent.join("a/b")).verdict, Verdict::Good);
        assert!(!parent.exists());
        fs::create_dir(&parent).unwrap();
        assert_eq!(direct_io(&parent).verdict, Verdict::Good);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
        fs::remove_dir(&parent).unwrap();
    }

    #[test]
    fn one_fatal_finding_is_enough() {
        let good = Finding::new(Verdict::Good, "a", "x");
        let fatal = Finding::new(Verdict::Fatal, "b", "y");
        let warning = Finding::new(Verdict::Warning, "c", "z");
        assert!(report(&[good.clone(), warning]).1);
        let (text, can_start) = report(&[good, fatal]);
        assert!(!can_start && text.contains("FATAL   b: y"));
    }
}
