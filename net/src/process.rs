//! What Prometheus' own client libraries tell of every process, by the names they use: CPU time, memory, threads, file descriptors, start.
//! Linux only, from /proc; what cannot be read is left out.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::machine;

/// Clock ticks a second in /proc/self/stat, on every Linux that Starling runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// Appends the metrics of this process, which has run for `uptime`.
pub fn prometheus(out: &mut String, uptime: Duration) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name| status_number(&status, name).map(|kib| kib * 1024.0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(uptime);
    let families = [
        ("cpu_seconds_total", "counter", "CPU time of all threads in seconds", cpu_seconds()),
        ("resident_memory_bytes", "gauge", "Bytes of memory in use", bytes("VmRSS:")),
        ("virtual_memory_bytes", "gauge", "Bytes of address space", bytes("VmSize:")),
        ("threads", "gauge", "Threads", status_number(&status, "Threads:")),
        ("open_fds", "gauge", "Open file descriptors", open_files()),
        ("max_fds", "gauge", "Most file descriptors that may be open", max_files()),
        (
            "start_time_seconds",
            "gauge",
            "Start of the process in seconds since 1970",
            Some(started.as_secs_f64().round()),
        ),
    ];
    for (name, kind, help, value) in families {
        if let Some(value) = value {
            out.push_str(&format!(
                "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}\n"
            ));
        }
    }
}

/// A number of /proc/self/status.
fn status_number(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Time in user and in system mode. The fields follow the command's name, which stands in parentheses and may hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11);
    let (user, system) = (ticks.next()?.parse::<u64>().ok()?, ticks.next()?.parse::<u64>().ok()?);
    Some((user + system) as f64 / TICKS_A_SECOND)
}

/// The size of the directory is their number since Linux 6.2, and 0 before: to count them one by one would hold the core up.
fn open_files() -> Option<f64> {
    let count = fs::metadata("/proc/self/fd").ok()?.len();
    (count > 0).then_some(count as f64)
}

fn max_files() -> Option<f64> {
    machine::open_files().ok().map(|limit| limit.soft as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_something_of_everything() {
        let mut text = String::new();
        prometheus(&mut text, Duration::from_secs(5));
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("process_{name} "))).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(value("cpu_seconds_total") >= 0.0);
        assert!(
            value("resident_memory_bytes") >= 1e6 && value("virtual_memory_bytes") >= value("resident_memory_bytes")
        );
        assert!(value("threads") >= 1.0 && value("max_fds") >= 64.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - value("start_time_seconds") - 5.0).abs() < 3.0);
    }
}
