//! The size of the pages that the system gives this process.
//!
//! Invariant: who waits for an event's hit never waits for more memory than that event needs.

/// Asks the system for small pages from here on. A huge one is cleared whole when its first byte is
/// touched: up to 12 ms on a machine that gets its memory anew from a host, in the midst of an event.
/// A scan of tables may take a third longer for it. A system that does not know of it goes on as it
/// does.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no crate that is here already offers this call")]
pub(crate) fn ask_for_small_ones() {
    let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: it takes numbers alone and changes a flag of this process.
    let refused = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) } != 0;
    if refused {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "huge pages stay in use");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ask_for_small_ones() {}
