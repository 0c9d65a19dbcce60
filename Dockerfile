# One image for `serve` and `work`; the command decides. docker-compose.yml shows how to run it.
FROM node:20-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev

FROM node:20-slim
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
ENV NODE_ENV=production
# Not set here: UV_THREADPOOL_SIZE. Hashing, sealing and name look-ups share these threads, and Node reads the number only
# at its start, so set it on the container of `work`: cores + 2.
USER node
EXPOSE 8080
# Core files, diagnostic reports and heap snapshots would carry passwords out of memory: none is made, whatever the
# environment of the container asks for.
ENTRYPOINT ["/bin/sh", "-c", "ulimit -c 0 && unset NODE_OPTIONS && exec node --no-report-on-fatalerror --no-report-on-signal --no-report-uncaught-exception dist/cli/main.js \"$@\"", "passferry"]
CMD ["serve"]
