server() { exec python3 "$PROGRAMS/index.py"; }
client() {
    export CARGO_HOME=$HOME/cargo
    mkdir -p "$CARGO_HOME" app/src
    cat >"$CARGO_HOME/config.toml" <<END
[registries.company]
index = "sparse+http://$PRODUCTION:8080/crates/"
END
    cat >app/Cargo.toml <<END
[package]
name = "app"
version = "1.0.0"
edition = "2021"

[dependencies]
left-pad = { version = "1", registry = "company" }
END
    echo 'fn main() { println!("{}", left_pad::pad("text", 8)); }' >app/src/main.rs
    cargo run --quiet --manifest-path app/Cargo.toml
}
