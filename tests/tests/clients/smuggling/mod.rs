//! Requests that two servers read in two ways, so that a second one hides in the first. Two naive servers judge what
//! arrived: one believes lengths, the other codings. Without the guard they disagree, and what one of them takes for a body
//! is a request to the other; with it nothing arrives that nobody allowed.

mod generated;
mod judges;
mod known;
