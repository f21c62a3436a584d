//! The daemon as a part of the test's own process, with the test's sink.

use std::net::TcpListener;
use std::thread::JoinHandle;

use rtmsd::daemon::{
    App, AppCredentials, Daemon, Ending, Handle, RestCredentials, Settings, SinkFactory,
};
use rtmsd::demo::Zoom;
use rtmsd::domain::secret::Secret;
use rtmsd::protocol::server_url::AllowedHosts;

pub(super) struct Embedded {
    handle: Handle,
    thread: JoinHandle<Ending>,
}

impl Embedded {
    /// Starts the daemon and makes Zoom post to it. REST uses the static token.
    pub(super) fn start(zoom: &Zoom, sinks: Box<SinkFactory>) -> Embedded {
        let options = zoom.options();
        let credentials = AppCredentials {
            id: options.client_id.clone(),
            secret: Secret::new(options.client_secret.as_str()),
        };
        let secret_tokens = vec![Secret::new(options.secret_token.as_str())];
        let mut app = App::new(credentials, secret_tokens);
        app.rest.api_url = zoom.api_url();
        app.rest.credentials = RestCredentials::Static {
            token: Secret::new(options.access_token.as_str()),
        };
        let mut settings = Settings::new(app);
        settings.allowed_hosts = AllowedHosts::parse("127.0.0.1").expect("a host");
        settings.ca_file = Some(zoom.ca_file());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let daemon = Daemon::start(vec![listener], settings, Some(sinks)).expect("it starts");
        let address = daemon.addresses()[0];
        zoom.set_webhook_target(&format!("http://{address}/webhook"))
            .expect("a target");
        Embedded {
            handle: daemon.handle(),
            thread: std::thread::spawn(move || daemon.run()),
        }
    }

    pub(super) fn stop(self) {
        self.handle.stop();
        assert_eq!(self.thread.join().expect("it ends"), Ending::Stopped);
    }
}
