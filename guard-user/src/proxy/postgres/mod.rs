//! PostgreSQL, read only: statements that read pass, a person is asked about the rest.
//!
//! Two locks hold a client to reading. Each text that it sends is parsed with PostgreSQL's own grammar ([`judge`]) before
//! the server sees it; and the server is told to begin all transactions as `READ ONLY`, which is lifted for what a person
//! has allowed and nothing else. What is refused fails at the server as well, by something put in its place, so that both
//! sides agree on what was done, in whatever order clients send ([`ledger`]).

mod again;
mod asking;
mod batch;
mod client;
mod frame;
mod judge;
mod ledger;
mod lock;
mod parts;
mod refusal;
mod rows;
mod server;
mod start;
mod unit;

use std::rc::Rc;

use tokio::{
    io::{AsyncWriteExt as _, split},
    net::TcpStream,
};

use super::{
    client::Way,
    judge::Rules,
    networks::Place,
    tls::Tls,
    upstream::Upstream,
    wire::{Entry, Terms},
};
use crate::policy::Profile;

pub(super) use again::Again;
use client::Client;
use frame::Reader;
use refusal::Refusal;
use server::Shared;
use start::{Started, Unstarted};

/// Whether what is spoken there is PostgreSQL's protocol; `None` where policies disagree about that.
pub(super) fn is_spoken(terms: &Terms) -> Option<bool> {
    let speaks = |rules: &Rules| rules.profiles.contains(&Profile::Postgres);
    let mut spoken = terms.rules.iter().map(speaks);
    let first = spoken.next().unwrap_or(false);
    spoken.all(|other| other == first).then_some(first)
}

/// Serves a connection until its end.
pub(super) async fn serve(
    mut way: Way,
    tls: Rc<Tls>,
    stream: TcpStream,
    upstream: Rc<Upstream>,
    _place: Option<Place>,
) {
    match start::start(&mut way, tls, stream, &upstream).await {
        Ok(started) => speak(&way, started).await,
        Err(Unstarted::Ended) => {}
        Err(Unstarted::Broken(why)) => way.log(Entry::refused(&why)),
        Err(Unstarted::Refused(mut client, refusal)) => {
            way.log(Entry::refused(refusal.why()));
            // It may be gone.
            let _ = client.write_all(&refusal.message("FATAL")).await;
            let _ = client.shutdown().await;
        }
    }
}

/// Passes on what both sides say.
async fn speak(way: &Way, started: Started) {
    let shared = Shared::new();
    let (from_client, mut to_client) = split(started.client);
    let (from_server, mut to_server) = split(started.server);
    if to_server.write_all(&started.packet).await.is_err() || to_server.flush().await.is_err() {
        return;
    }
    let ends = (Reader::new(from_client), to_server);
    let mut client = Client::new(way, started.login, ends, &shared);
    let ended = {
        let serving = server::serve(Reader::new(from_server), &mut to_client, &shared);
        tokio::select! {
            ended = client.serve() => ended,
            ended = serving => ended,
        }
    };
    if let Err(error) = ended
        && error.kind() == std::io::ErrorKind::InvalidData
    {
        let why = error.to_string();
        way.log(Entry::refused(&why));
        let refusal = Refusal::violation(&why);
        // It may be gone.
        let _ = to_client.write_all(&refusal.message("FATAL")).await;
    }
    let _ = to_client.shutdown().await;
}
