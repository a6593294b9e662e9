//! Listings against a model.
