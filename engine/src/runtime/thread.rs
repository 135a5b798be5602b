//! System calls on threads: which CPUs there are, pinning, niceness, the thread's CPU clock.

#![expect(unsafe_code, reason = "libc calls that have no safe form in std")]

use std::time::Duration;

/// The CPUs this process may run on.
pub(super) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: `set` is a plain bit set that the call fills; its size is passed.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    };
    // SAFETY: the index is below CPU_SETSIZE.
    let cpus: Vec<usize> =
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Pins the calling thread to a CPU and gives it nice 19, never SCHED_IDLE (design 2: measured).
pub(super) fn lower_beside(cpu: usize) {
    // SAFETY: `set` is initialised; 0 means the calling thread; a failure leaves the thread as it was, which is only slower.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, 19);
    }
}

/// CPU time of the calling thread.
pub(super) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux; `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The CPU clock of one thread, readable from all threads of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// Of the calling thread; `None` where the system has no such clock.
    pub fn of_this_thread() -> Option<CpuClock> {
        let mut clock = 0;
        // SAFETY: the calling thread lives; `clock` is ours.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        (failed == 0).then_some(CpuClock(clock))
    }

    /// What the thread has used; `None` once it has ended.
    pub fn read(self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a clock of a thread that is gone gives an error; `time` is ours.
        let failed = unsafe { libc::clock_gettime(self.0, &mut time) };
        (failed == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

/// 64 random bits.
pub(super) fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer has the length that is passed; requests of up to 256 bytes are never cut short or interrupted.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}
