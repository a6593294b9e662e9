//! Tests of the local client beyond the contract.
