//! What fuzz targets ask of every error about a setting.

use super::input::is_harmless;
use crate::error::{Error, ErrorKind};

/// Asserts that a complaint about a setting can be shown and says what to do.
pub(crate) fn refused(error: &Error) {
    assert!(error.kind() == ErrorKind::Invalid && error.hint().is_some(), "{error:?}");
    assert!(is_harmless(&error.chain()), "{error:?}");
}
