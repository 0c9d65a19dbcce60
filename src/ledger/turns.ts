/**
 * Round robin by organization: a job's turn is the round in which it is taken, and an organization has one place in a round.
 * It is BullMQ's priority of the job, so the lowest waiting one is the round that is served now: whoever comes new stands in the
 * next round, whoever has ten thousand waiting stands in the last of them. Within one organization turns only rise, so its
 * jobs keep their order. (Its number of open jobs as priority would let what comes while a backlog shrinks overtake what waits.)
 */

/** BullMQ's lowest priority. So far out all stand in one line, until the queue has been empty once. */
const lastTurn = 2 ** 21 - 1;

/** Rows of one organization in a round: BullMQ's priorities must last for files with millions of rows. */
const rowsPerTurn = 16;

/** For scripts, after the prelude. `line` is BullMQ's set of waiting jobs with a priority. */
export const turns = `
local function served(line)
  local head = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
  return head[2] and math.floor(tonumber(head[2]) / 4294967296) or 0
end
local function within(turn) return math.min(turn, ${lastTurn}) end
-- Ahead of the round by no more than it has open: one job that is held must not keep the others of its organization back.
local function next_turn(line, last, open)
  local now = served(line)
  return within(math.min(math.max(now, last), now + open) + 1)
end
-- Takes n places in the line of rows and says how many of its organization went before. Nobody waits: all begin anew.
local function row_places(line, places, org, n)
  local now = served(line)
  if now == 0 then redis.call('DEL', places) end
  local before = math.max(now * ${rowsPerTurn}, tonumber(redis.call('HGET', places, org) or '0'))
  redis.call('HSET', places, org, text(before + n))
  return before
end
local function row_turn(place) return within(math.floor(place / ${rowsPerTurn}) + 1) end
`;
