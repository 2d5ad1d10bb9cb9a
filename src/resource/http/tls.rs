//! The link between ureq and rustls: ureq's own cannot be given a judge of certificates, so this
//! is its counterpart that can. (`ureq::unversioned` may change with a minor version of ureq.)

use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::client::{Stage, Witness};
use super::trust::Trust;

/// Wraps the connection of an https URL in TLS.
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    witness: Arc<Witness>,
    deadline: Instant,
}

impl TlsConnector {
    pub fn new(trust: Arc<Trust>, witness: Arc<Witness>, deadline: Instant) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(trust)
            .with_no_client_auth();
        Ok(TlsConnector { config: Arc::new(config), witness, deadline })
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            self.witness.reach(Stage::Answer);
            return Ok(Some(Either::A(transport)));
        }
        self.witness.reach(Stage::Handshake);
        let host = details.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|_| ureq::Error::Tls("the URL's host is no name"))?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        // ureq's time for connecting began before the TCP connection was made.
        let left = self.deadline.saturating_duration_since(Instant::now());
        socket.set_timeout(NextTimeout { after: left.into(), ..details.timeout });
        connection.complete_io(&mut socket).map_err(|error| match error.downcast::<rustls::Error>() {
            Ok(error) => ureq::Error::Rustls(error),
            Err(error) => ureq::Error::from(error),
        })?;
        self.witness.reach(Stage::Answer);
        let size = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let buffers = LazyBuffers::new(size.0, size.1);
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(connection, socket) })))
    }
}

pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
