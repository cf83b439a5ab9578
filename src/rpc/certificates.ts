import { readFile } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { ConfigError } from '../errors.js';
import { refusalText } from '../refusals.js';
import type { Config, ConfigItemName } from '../config/index.js';
import type { Certificates, ClientTLSOptions } from '../wire/index.js';

/**
 * Reads the files that the PYROSSL_* items name: this host's certificate, its private key, and the certificate of the
 * authority (CA).
 * @throws ConfigError that says which item's file can't be read, and why
 */
export async function readCertificates(config: Config): Promise<Certificates> {
  const read = async (item: ConfigItemName, file: string): Promise<Buffer> => {
    const path = resolve(config.PYROSSL_CERTDIR, file);
    try {
      return await readFile(path);
    } catch (error) {
      const isSystemError = typeof error === 'object' && error !== null && 'code' in error;
      const reason = isSystemError ? String(error.code) : String(error);
      throw new ConfigError(
        refusalText('FILE_UNREADABLE', `${item}: the file ${basename(path)} in ${dirname(path)}`, reason),
      );
    }
  };
  const cert = await read('PYROSSL_CERT', config.PYROSSL_CERT);
  return {
    cert,
    // Without a file of its own, the key is in the certificate's file.
    key: config.PYROSSL_KEY === undefined ? cert : await read('PYROSSL_KEY', config.PYROSSL_KEY),
    ca: await read('PYROSSL_CA_CERT', config.PYROSSL_CA_CERT),
  };
}

/** The TLS options of a client, from the PYROSSL_* items. @throws ConfigError as `readCertificates` */
export async function readClientTLS(config: Config): Promise<ClientTLSOptions> {
  return { ...(await readCertificates(config)), checkHost: config.PYROSSL_POSTCONNCHECK };
}
