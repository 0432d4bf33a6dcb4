//! What is read out of trails, against naive readings of them.

mod chain;
mod collected;
mod learned;
mod records;
mod signed;
mod suggest;
