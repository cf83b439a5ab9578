// One object behind two doors: the one opens to a passphrase, the other to a certificate.
import { BasicSSLValidator, Daemon, DefaultConnValidator, DeniedReason, getCaller } from 'pyro-ns';

class Safe {
  look() {
    return `gold, seen from ${getCaller()?.socket.remoteAddress}`;
  }
}

/** Only programs on this machine, and of those only the ones that know the passphrase. */
class LocalValidator extends DefaultConnValidator {
  acceptHost(daemon, connection) {
    if (connection.socket.remoteAddress !== '127.0.0.1') return DeniedReason.HostBlocked;
    return super.acceptHost(daemon, connection);
  }
}

/** Of all those with a certificate of our authority, only the client. */
class ClientValidator extends BasicSSLValidator {
  checkCertificate(certificate) {
    return certificate?.subject === 'CN=client' ? undefined : DeniedReason.Security;
  }
}

const safe = new Safe();

const plain = await Daemon.start({ host: 'localhost' });
plain.setNewConnectionValidator(new LocalValidator());
plain.setAllowedIdentifications(['open sesame']);

const secure = await Daemon.start({ host: 'localhost', protocol: 'PYROSSL' });
secure.setNewConnectionValidator(new ClientValidator());

console.log(`${await plain.connect(safe)} ${await secure.connect(safe)}`);
