//! `rtmsd print unit` and `print socket`.

use std::path::Path;

use crate::config::keys::KEYS;
use crate::daemon::shutdown::HAND_OVER_STOP_TIMEOUT;

/// The service for the binary at this path.
pub fn unit(program: &Path) -> String {
    let stop_timeout = HAND_OVER_STOP_TIMEOUT.as_secs().to_string();
    UNIT.replace("@program@", &program.display().to_string())
        .replace("@stop_timeout@", &stop_timeout)
        .replace("@credentials@\n", &credentials())
}

/// A credential for every secret, named after its key. systemd refuses to start a service with a
/// missing credential, so each has an empty fallback, which counts as not given.
fn credentials() -> String {
    let secrets = KEYS.iter().filter(|key| key.is_secret);
    secrets
        .map(|key| {
            let name = key.name;
            format!("LoadCredential={name}:/etc/rtmsd/{name}\nSetCredential={name}:\\n\n")
        })
        .collect()
}

/// The socket unit for it, which is optional.
pub fn socket_unit() -> &'static str {
    SOCKET
}

const UNIT: &str = "\
# rtmsd.service, from \"rtmsd print unit\". Settings are in /etc/rtms.conf. Every user must be able to
# read that file, so do not put secrets into it: each secret is a file of mode 0600 in /etc/rtmsd, with
# the name of its key. Meetings are in /var/lib/rtmsd/meetings. To change this unit, create a drop-in:
# systemctl edit rtmsd.

[Unit]
Description=Zoom Realtime Media Streams receiver
Documentation=man:rtmsd(8) man:rtms.conf(5)
Wants=network-online.target
After=network-online.target
# Without credentials the server cannot do anything.
ConditionPathExists=/etc/rtmsd/ZOOM_CLIENT_SECRET
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
# Used only if it exists: rtmsd print socket.
Sockets=rtmsd.socket
ExecStart=@program@ serve --config /etc/rtms.conf
ExecReload=/bin/kill -HUP $MAINPID
# If a thread hangs, the server stops feeding the watchdog within half of this time. systemd then
# restarts the server, and the server joins its streams again.
WatchdogSec=30s
# Until then the server gives its streams to others of a fleet, and tries to write what it received if the
# disk refuses. Most often it needs a second.
TimeoutStopSec=@stop_timeout@s
Restart=on-failure
RestartSec=1s
# A restart cannot fix a wrong command line or configuration.
RestartPreventExitStatus=64 78
# Transcripts are in files, so standard output is discarded; the journal gets the log only.
StandardOutput=null
StandardError=journal

# Secrets. Without its file, a secret is an empty line, which means that the key is not set.
@credentials@
# The key with which tokens and state are encrypted, see \"rtmsd help security\".
#LoadCredentialEncrypted=RTMS_STATE_KEY:/etc/credstore.encrypted/rtmsd-state-key

DynamicUser=yes
StateDirectory=rtmsd
StateDirectoryMode=0700
RuntimeDirectory=rtmsd
# The group may open the socket of RTMS_ADMIN there; everything else in it is the server's alone.
RuntimeDirectoryMode=0750
UMask=0077
# A stream uses up to a dozen open files.
LimitNOFILE=65536
LimitCORE=0
# Each thread would keep freed memory for itself; see \"rtmsd help tuning\".
Environment=GLIBC_TUNABLES=glibc.malloc.tcache_count=0

AmbientCapabilities=
CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
KeyringMode=private
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
# pidfd_getfd is needed to take over a socket from systemd.
SystemCallFilter=@system-service pidfd_open pidfd_getfd
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
";

const SOCKET: &str = "\
# rtmsd.socket, from \"rtmsd print socket\". systemd holds the webhook port, so that webhooks wait while
# the server restarts. HOST and PORT in /etc/rtms.conf are then not used. A port below 1024 needs no
# further permission.

[Unit]
Description=Webhook port of rtmsd

[Socket]
ListenStream=3000
Backlog=1024
# If the server ends at once because of a configuration fault, waiting webhooks start it this many
# times and no more. \"systemctl restart rtmsd\" starts both units again.
TriggerLimitIntervalSec=30s
TriggerLimitBurst=5

[Install]
WantedBy=sockets.target
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_for_this_binary() {
        let unit = unit(Path::new("/opt/rtmsd"));
        for line in [
            "ExecStart=/opt/rtmsd serve --config /etc/rtms.conf",
            "Type=notify",
            "RestartPreventExitStatus=64 78",
            "DynamicUser=yes",
            "Environment=GLIBC_TUNABLES=glibc.malloc.tcache_count=0",
            "StandardError=journal",
            "LoadCredential=ZOOM_REFRESH_TOKEN:/etc/rtmsd/ZOOM_REFRESH_TOKEN",
            "SetCredential=ZOOM_REFRESH_TOKEN:\\n",
        ] {
            assert!(unit.lines().any(|found| found == line), "{line}");
        }
        let stop = format!("TimeoutStopSec={}s", HAND_OVER_STOP_TIMEOUT.as_secs());
        assert!(unit.lines().any(|line| line == stop));
        for placeholder in ["@program@", "@credentials@", "@stop_timeout@"] {
            assert!(!unit.contains(placeholder), "{placeholder}");
        }
    }
}
