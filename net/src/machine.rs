//! What this machine, or the container it is, gives a server: CPUs, memory, file descriptors.

use std::fs;
use std::io;

/// The share of the memory that is taken unless told otherwise, in percent.
const MEMORY_PERCENT: u64 = 70;

/// CPUs this process may run on.
pub fn cpus() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    u16::try_from(cpus).unwrap_or(u16::MAX)
}

/// 70 % of what this process may use.
pub fn memory_default() -> u64 {
    memory() / 100 * MEMORY_PERCENT
}

/// Bytes this process may use: the machine's memory, or less where a control group limits it.
pub fn memory() -> u64 {
    let limits = [cgroup_v2(), read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes")];
    let machine = memory_total().unwrap_or(1 << 30);
    limits.into_iter().flatten().fold(machine, u64::min)
}

fn memory_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The least limit of this process' control group and those above it.
fn cgroup_v2() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut least = None;
    let mut rest = path.trim_end_matches('/');
    loop {
        if let Some(limit) = read_number(&format!("/sys/fs/cgroup{rest}/memory.max")) {
            least = Some(least.map_or(limit, |least: u64| least.min(limit)));
        }
        match rest.rfind('/') {
            Some(end) => rest = &rest[..end],
            None => return least,
        }
    }
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A soft and a hard limit; `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// Bytes this process may lock in memory.
pub fn locked_memory() -> io::Result<Limit> {
    limit(libc::RLIMIT_MEMLOCK)
}

/// Files this process may have open.
pub fn open_files() -> io::Result<Limit> {
    limit(libc::RLIMIT_NOFILE)
}

#[expect(unsafe_code, reason = "resource limits have no safe interface in std")]
fn limit(of: libc::__rlimit_resource_t) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the call to fill.
    if unsafe { libc::getrlimit(of, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises the soft limits to the hard ones, which every process may do.
pub fn raise_limits() {
    for of in [libc::RLIMIT_NOFILE, libc::RLIMIT_MEMLOCK] {
        if let Err(error) = raise(of) {
            tracing::debug!(%error, "a resource limit was not raised");
        }
    }
}

#[expect(unsafe_code, reason = "resource limits have no safe interface in std")]
fn raise(of: libc::__rlimit_resource_t) -> io::Result<()> {
    let now = limit(of)?;
    let wanted = libc::rlimit { rlim_cur: now.hard, rlim_max: now.hard };
    // SAFETY: `wanted` is a valid rlimit that the call only reads.
    if unsafe { libc::setrlimit(of, &raw const wanted) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_of_everything() {
        assert!(cpus() >= 1);
        assert!(memory() >= 64 << 20);
        assert!(memory_default() < memory());
        let files = open_files().unwrap();
        assert!(files.soft >= 64 && files.soft <= files.hard);
        raise_limits();
        assert_eq!(open_files().unwrap().soft, files.hard);
    }
}
