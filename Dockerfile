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
# Diagnostic reports and heap dumps would carry passwords out of memory, so the switches for reports are off by name.
ENV NODE_ENV=production \
    NODE_OPTIONS="--no-report-on-fatalerror --no-report-on-signal --no-report-uncaught-exception"
# Not set here: UV_THREADPOOL_SIZE. Hashing, sealing and name look-ups share these threads, and Node reads the number only
# at its start, so set it on the container of `work`: cores + 2.
USER node
EXPOSE 8080
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["serve"]
