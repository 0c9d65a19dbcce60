import { rowBytes } from '../row-outcome.ts';

/**
 * For scripts: how the rows of a page ended, some bytes for each. They come with the first row that ends, so that a file at rest takes no
 * more than its rows; until then all are open.
 */
export const rowEnds = `
local function row_end(ends, place)
  local bytes = redis.call('GETRANGE', ends, place, place + ${rowBytes - 1})
  return string.find(bytes, '[^%z]') and bytes or nil
end
-- Made at its whole length: what grows by itself takes twice as much. Of a page that is gone with its run nothing is kept.
local function set_row_end(page, ends, place, bytes)
  if redis.call('EXISTS', ends) == 0 then
    local rows, ttl = redis.call('HGET', page, 'rows'), redis.call('PTTL', page)
    if not rows or ttl <= 0 then return end
    redis.call('SET', ends, string.rep('\\0', tonumber(rows) * ${rowBytes}), 'PX', ttl)
  end
  redis.call('SETRANGE', ends, place, bytes)
end
`;
