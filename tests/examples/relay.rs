//! `relay SOCKET`: what the guard's proxy would be if it read nothing. It comes to guardd as the proxy does, takes the
//! connections that the kernel turns to it, and copies bytes between each and its destination. What it takes longer than
//! a connection without a guard is the price of going through another process; what the proxy takes longer than this
//! is the price of reading. It serves guardd's own network only, and asks nobody.

use std::{env, io, net::SocketAddr, path::PathBuf, rc::Rc};

use anyhow::{Context as _, Result, bail};
use guard_common::{NetnsCookie, OriginKey};
use guard_proto::wire::{ToDaemon, ToProxy, VERSION};
use guard_sys::{bpf::Origins, packets::Packets};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};

/// Read at once, in bytes: what the proxy reads of an answer.
const READ: usize = 64 * 1024;

fn main() -> Result<()> {
    let socket = PathBuf::from(env::args_os().nth(1).context("relay SOCKET")?);
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, relay(socket))
}

/// Until guardd ends.
async fn relay(socket: PathBuf) -> Result<()> {
    let guardd = Packets::connect(&socket)?;
    let mut origins = None;
    println!("ready");
    while let Some(packet) = guardd.receive().await? {
        match serde_json::from_slice(&packet.bytes)? {
            ToProxy::Hello { .. } => {
                let version = VERSION.to_owned();
                let own = serde_json::to_vec(&ToDaemon::Hello { version })?;
                guardd.send(&own, &[]).await?;
                // What else comes is for TLS.
                let map = packet.descriptors.into_iter().next().context("no map")?;
                origins = Some(Rc::new(Origins::new(map)?));
            }
            ToProxy::Listen { cookie, .. } => {
                let origins = origins.as_ref().context("listeners before the map")?;
                for listener in packet.descriptors {
                    let listener = std::net::TcpListener::from(listener);
                    listener.set_nonblocking(true)?;
                    let listener = TcpListener::from_std(listener)?;
                    spawn_local(accept(listener, NetnsCookie(cookie), Rc::clone(origins)));
                }
            }
            ToProxy::Renew | ToProxy::Forget { .. } => {}
            other => bail!("it has not asked for this: {other:?}"),
        }
    }
    Ok(())
}

async fn accept(
    listener: TcpListener,
    network: NetnsCookie,
    origins: Rc<Origins>,
) -> io::Result<()> {
    loop {
        let (client, peer) = listener.accept().await?;
        let origins = Rc::clone(&origins);
        spawn_local(async move {
            let key = OriginKey::between(network, peer, client.local_addr()?);
            if let Some(origin) = origins.take(&key)? {
                copy(client, (origin.destination.to_ip(), origin.port).into()).await?;
            }
            io::Result::Ok(())
        });
    }
}

async fn copy(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, READ, READ).await?;
    Ok(())
}
