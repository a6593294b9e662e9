//! Buckets that keep old versions: what the server does, and what a sync does with them.

mod refusals;
mod table;
mod trash;
