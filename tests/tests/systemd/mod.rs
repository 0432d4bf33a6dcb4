//! guardd's life under a real systemd, with the units that ship. For a throw-away machine only: it stops, masks,
//! unmounts and breaks what the machine has.

mod broken;
mod life;
mod machine;
mod order;
mod sandbox;
mod slice;
mod socket;
mod units;
mod users;
