import { BCReqValidator, DefaultConnValidator } from 'pyro-ns';

const ACCEPTED_ID = 'p4ssphr4se';

/** Judges requests that come by broadcast. */
class RequestValidator extends BCReqValidator {
  acceptLocationCmd() {
    console.log(this.addr[0], 'WANTS TO KNOW OUR LOCATION. Ok...');
    return true;
  }

  acceptShutdownCmd() {
    console.log(this.addr[0], 'WANTS US TO SHUT DOWN, Pfff!');
    this.reply('denied!');
    return false;
  }
}

/** Judges new connections: a DeniedReason refuses, undefined accepts. */
class ConnectionValidator extends DefaultConnValidator {
  acceptHost(daemon, connection) {
    console.log(connection.socket.remoteAddress, 'WANTS CONNECTION...');
    return super.acceptHost(daemon, connection);
  }

  acceptIdentification(daemon, connection, token, challenge) {
    console.log(connection.socket.remoteAddress, 'SENDS IDENTIFICATION...');
    const refusal = super.acceptIdentification(daemon, connection, token, challenge);
    if (refusal !== undefined) console.log('Connection denied!');
    return refusal;
  }
}

export const BCGuard = () => new RequestValidator();

export function NSGuard() {
  const validator = new ConnectionValidator();
  validator.setAllowedIdentifications([ACCEPTED_ID]);
  return validator;
}
