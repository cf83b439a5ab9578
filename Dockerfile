# The persistent name server in a container: see docs/service.md.
FROM node:20-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build-console.mjs scripts/
COPY src src
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:20-slim
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
# The names, the URI file: owned by the user that the server runs as, also in a volume that Docker makes.
RUN mkdir /data && chown node:node /data && chmod 700 /data
VOLUME /data
USER node
WORKDIR /data
ENV NODE_ENV=production PYRO_STORAGE=/data PYRO_LOGFILE=/dev/stderr PYRO_TRACELEVEL=2
EXPOSE 9090/tcp 9090/udp
# The server speaks first, and its first word is PYRO.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "require('node:net').connect(process.env.PYRO_NS_PORT || 9090, '127.0.0.1').on('data', (hello) => process.exit(hello.subarray(0, 4).toString() === 'PYRO' ? 0 : 1)).on('error', () => process.exit(1))"]
ENTRYPOINT ["node", "/app/dist/commands/pyro-ns.cjs"]
# Persistent, and alone: neither looking for other name servers nor answering broadcasts, which don't reach containers.
CMD ["-d", "-r", "-x"]
