//! What is read out of audit logs, against naive readings of them.

mod chain;
mod collected;
mod learned;
mod records;
mod row;
mod signed;
mod suggest;
