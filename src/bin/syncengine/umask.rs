//! A umask that takes rights from the owner himself is no way to keep others out: it would make folders nobody
//! can enter, and a state that no later run could read. What it takes from others holds.

use rustix::fs::Mode;
use rustix::process::umask;

/// Lets the owner have what this process makes. To be called before there are threads.
pub(crate) fn spare_the_owner() {
    // It cannot be read without setting it.
    let given = umask(Mode::RWXG | Mode::RWXO);
    umask(given - Mode::RWXU);
}
