//! Sentences for the user.

use serde::Serialize;

use crate::code::NoticeCode;

/// A sentence for the user, with a code for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What it is about, for programs.
    pub code: NoticeCode,
    /// What is the matter.
    pub message: String,
    /// What the user can do; empty if there is nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Notice {
    /// Returns a notice.
    pub fn new(code: NoticeCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}
