//! PostgreSQL, read only: statements that read pass, and a person is asked about the rest.
//!
//! Two locks hold a client to reading. Each text that it sends is parsed with PostgreSQL's own grammar ([`judge`]) before the
//! server sees it; and the server has to begin all transactions as `READ ONLY`, except for what a person has allowed. A
//! refused statement fails at the server as well, by an invalid one in its place, so that both sides agree on what was done, in
//! whatever order clients send ([`ledger`]).

mod across;
mod asking;
mod batch;
mod beside;
mod client;
mod elsewhere;
mod frame;
mod large;
mod ledger;
mod lock;
mod meaning;
mod names;
mod parts;
mod refusal;
mod replication;
mod rows;
mod server;
mod server_name;
mod start;
mod sum;
mod unit;

use std::{
    io::{self, ErrorKind},
    rc::Rc,
};

use guard_judge::sql as judge;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _, split},
    net::TcpStream,
};

use super::{
    client::ConnectionContext,
    judge::Rules,
    networks::ConnectionSlot,
    tls::Tls,
    upstream::Upstream,
    wire::{Entry, TargetTerms},
};

pub(super) use across::AcrossConnections;
use client::PostgresClient;
use frame::Reader;
use guard_policy::Profile;
use refusal::Refusal;
use server::BothDirections;
use server_name::UnshownName;
use start::{StartedConnection, Unstarted};

/// Whether the destination speaks PostgreSQL's protocol; `None` if policies disagree.
pub(super) fn is_spoken(terms: &TargetTerms) -> Option<bool> {
    let speaks = |rules: &Rules| rules.profiles.contains(&Profile::Postgres);
    let mut spoken = terms.rules().iter().map(speaks);
    let first = spoken.next().unwrap_or(false);
    spoken.all(|other| other == first).then_some(first)
}

/// Serves a connection until its end.
pub(super) async fn serve(
    mut context: ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    upstream: Rc<Upstream>,
    _place: Option<ConnectionSlot>,
) {
    match start::start(&mut context, tls, stream, &upstream).await {
        Ok(started) => speak(&context, started).await,
        Err(Unstarted::Ended) => {}
        Err(Unstarted::Broken(why)) => context.log(of_sql(Entry::refused(&why))),
        // As over HTTP: nothing was stopped, so there is no record.
        Err(Unstarted::Unreachable(client, why)) => {
            if let Some(mut client) = client {
                tell(&mut client, &Refusal::unreachable(&why)).await;
            }
        }
        Err(Unstarted::Refused(mut client, refusal)) => {
            context.log(of_sql(Entry::refused(refusal.why())));
            tell(&mut client, &refusal).await;
        }
    }
}

/// An entry about statements.
fn of_sql(entry: Entry) -> Entry {
    Entry { sql: true, ..entry }
}

/// Relays in both directions.
async fn speak(context: &ConnectionContext, started: StartedConnection) {
    let shared = BothDirections::new();
    let (from_client, mut to_client) = split(started.client);
    let (from_server, to_server) = split(started.server);
    let from_client = Reader::new(from_client);
    let mut client = PostgresClient::new(context, started.login, from_client, to_server, &shared);
    if started.replicates {
        match client.may_replicate().await {
            Ok(None) => shared.ledger.borrow_mut().replicates = true,
            Ok(Some(refusal)) => return tell(&mut to_client, &refusal).await,
            Err(error) => return end(context, &mut to_client, &error).await,
        }
    }
    if client.begin(&started.packet).await.is_err() {
        return;
    }
    let ended = {
        let serving = server::serve(context, Reader::new(from_server), &mut to_client, &shared);
        tokio::select! {
            ended = client.serve() => ended,
            ended = serving => ended,
            ended = outlive_hole(context, &shared) => Err(ended),
        }
    };
    match ended {
        Err(error) => end(context, &mut to_client, &error).await,
        Ok(()) => drop(to_client.shutdown().await),
    }
}

/// Ends a connection, and tells its client why, unless the client ended it.
async fn end(
    context: &ConnectionContext,
    client: &mut (impl AsyncWrite + Unpin),
    error: &io::Error,
) {
    let why = error.to_string();
    let refusal = match error.kind() {
        ErrorKind::InvalidData => Refusal::violation(&why),
        ErrorKind::PermissionDenied => Refusal::ended(&why),
        ErrorKind::Unsupported => Refusal::bound(&why),
        _ => return drop(client.shutdown().await),
    };
    match UnshownName::behind(error) {
        Some(unshown) => context.log_name(unshown.by, unshown.entry()),
        None => context.log(of_sql(Entry::refused(&why))),
    }
    tell(client, &refusal).await;
}

/// Resolves when the hole that this connection relied on closes: nothing goes on after that, not even rows that are being
/// copied.
async fn outlive_hole(context: &ConnectionContext, shared: &BothDirections) -> io::Error {
    shared.has_gone_by_hole().await;
    context.link.closes(context.target).await;
    let why = "the hole that it went through has ended";
    io::Error::new(ErrorKind::PermissionDenied, why)
}

/// Tells a client why its connection ends. The client may be gone.
async fn tell(client: &mut (impl AsyncWrite + Unpin), refusal: &Refusal) {
    let _ = client.write_all(&refusal.message("FATAL")).await;
    let _ = client.shutdown().await;
}
