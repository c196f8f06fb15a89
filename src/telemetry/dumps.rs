//! No core dumps: memory holds keys and voice prints, and a dump would put them on a disk or send them to a collector.

/// Forbids core dumps of this process. On Linux it also keeps other processes of the same user from reading its memory
/// (`ptrace`, `/proc/PID/mem`). Where the system refuses, the process goes on without.
pub fn forbid_dumps() {
    #[cfg(unix)]
    {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the pointer is to a live rlimit that the call reads.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    }
    #[cfg(target_os = "linux")]
    // SAFETY: takes a number and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn this_process_leaves_no_core() {
        super::forbid_dumps();
        let mut limit = libc::rlimit {
            rlim_cur: 1,
            rlim_max: 1,
        };
        // SAFETY: the pointer is to a live rlimit that the call fills; prctl takes a number.
        let (read, dumpable) = unsafe {
            (
                libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit),
                libc::prctl(libc::PR_GET_DUMPABLE),
            )
        };
        assert_eq!((read, limit.rlim_cur, limit.rlim_max), (0, 0, 0));
        assert_eq!(dumpable, 0);
    }
}
